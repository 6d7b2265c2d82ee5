/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Translation to a local backend, and the entry by which its reply is translated back (lb_reply.h). */
#ifndef LB_NAT_H
#define LB_NAT_H

#include "lb_maps.h"
#include "lb_parse.h"

/* RFC 1624, equation 3: HC' = ~(~HC + ~m + m'). `delta` is the sum of all ~m + m' in 16-bit words. */
static __always_inline __u16 csum_update(__u16 sum, __u32 delta)
{
	delta += (__u16)~sum;
	delta = (delta & 0xffff) + (delta >> 16);
	delta = (delta & 0xffff) + (delta >> 16);
	return ~delta;
}

static __always_inline __u32 csum_delta16(__u16 from, __u16 to)
{
	return (__u32)(__u16)~from + to;
}

static __always_inline __u32 csum_delta32(__u32 from, __u32 to)
{
	return csum_delta16(from, to) + csum_delta16(from >> 16, to >> 16);
}

/* Rewrites destination address and port in place. */
static __always_inline void translate(struct iphdr *ip, const struct transport *l4, __be32 address, __be16 port)
{
	__u32 address_delta = csum_delta32(ip->daddr, address);
	__u32 delta = address_delta + csum_delta16(l4->ports->dest, port);

	ip->check = csum_update(ip->check, address_delta);
	ip->daddr = address;
	l4->ports->dest = port;
	if (l4->protocol == IPPROTO_TCP) {
		*l4->check = csum_update(*l4->check, delta);
	} else if (*l4->check) {
		/* RFC 768: zero means that the sender computed none, and a computed zero is sent as all ones. */
		*l4->check = csum_update(*l4->check, delta);
		if (!*l4->check)
			*l4->check = 0xffff;
	}
}

/*
 * Remembers how to translate the reply. Call before translate(), while the packet still carries the VIP.
 *
 * A pod cannot tell two connections of one client port apart that reach it by two VIPs, so the latest wins. An equal
 * entry is only looked at: that keeps it recently used, and a rewrite costs ten times as much.
 */
static __always_inline bool remember_reply(const struct iphdr *ip, const struct transport *l4, __be32 address, __be16 port)
{
	struct lb_reply_key key = {
		.backend_be = address,
		.client_be = ip->saddr,
		.backend_port_be = port,
		.client_port_be = l4->ports->source,
		.protocol = l4->protocol,
	};
	struct lb_reply now = { .vip_be = ip->daddr, .port_be = l4->ports->dest };
	struct lb_reply *known = bpf_map_lookup_elem(&lb_replies, &key);

	if (known && known->vip_be == now.vip_be && known->port_be == now.port_be)
		return true;
	return !bpf_map_update_elem(&lb_replies, &key, &now, BPF_ANY);
}

#endif
