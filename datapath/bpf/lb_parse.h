/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* From a packet to its 5-tuple, or to the reason why it has none that we serve. */
#ifndef LB_PARSE_H
#define LB_PARSE_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <stdbool.h>
#include <stddef.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "lb_abi.h"

#define IP_OFFSET 0x1fff /* RFC 791: fragment offset */
#define IP_MORE_OR_OFFSET (0x2000 | IP_OFFSET)

/*
 * The packet's bounds. Loaded by hand: the fields of the context are 32 bits wide while the verifier gives them the type of
 * a pointer, and a compiler that copies such a value with a 32-bit move loses that type.
 */
#define PACKET_BOUND(field)                                                                                            \
	static __always_inline void *packet_##field(const struct xdp_md *ctx)                                          \
	{                                                                                                              \
		void *pointer;                                                                                         \
                                                                                                                       \
		asm volatile("%0 = *(u32 *)(%1 + %2)"                                                                  \
			     : "=r"(pointer)                                                                           \
			     : "r"(ctx), "i"(offsetof(struct xdp_md, field)));                                         \
		return pointer;                                                                                        \
	}
PACKET_BOUND(data)
PACKET_BOUND(data_end)
PACKET_BOUND(data_meta)
#undef PACKET_BOUND

/* Both TCP and UDP begin with these. */
struct ports {
	__be16 source;
	__be16 dest;
};

static __always_inline bool is_fragment(const struct iphdr *ip)
{
	return ip->frag_off & bpf_htons(IP_MORE_OR_OFFSET);
}

/* A transport header within the bounds of its packet. */
struct transport {
	struct ports *ports;
	__u16 *check;
	__u8 protocol;
};

/*
 * Finds the transport header of an IPv4 packet whose fixed header lies within the packet. False and a reason if it is not
 * TCP or UDP in one piece, without options, and as long as it says.
 */
static __always_inline bool find_transport(struct xdp_md *ctx, struct iphdr *ip, struct transport *found, enum lb_reason *why)
{
	void *data = packet_data(ctx), *end = packet_data_end(ctx), *header = ip + 1;
	__u32 need, total = bpf_ntohs(ip->tot_len), before = (void *)ip - data;

	*why = LB_truncated;
	if (ip->ihl < 5)
		return false;
	if (ip->ihl > 5) {
		*why = LB_ip_options;
		return false;
	}
	if (is_fragment(ip)) {
		*why = LB_fragment;
		return false;
	}
	if (ip->protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = header;

		if ((void *)(tcp + 1) > end)
			return false;
		need = sizeof(*tcp);
		found->check = &tcp->check;
		found->protocol = IPPROTO_TCP;
	} else if (ip->protocol == IPPROTO_UDP) {
		struct udphdr *udp = header;

		if ((void *)(udp + 1) > end)
			return false;
		need = sizeof(*udp);
		found->check = &udp->check;
		found->protocol = IPPROTO_UDP;
	} else {
		*why = LB_not_tcp_udp;
		return false;
	}
	if (total < sizeof(*ip) + need)
		return false;
	/* Data behind the first buffer counts too; asking for it is a call, so only where it matters. */
	if (before + total > (__u32)(end - data) && before + total > bpf_xdp_get_buff_len(ctx))
		return false;
	found->ports = header;
	return true;
}

#endif
