/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* IP in IP (RFC 2003): the way to a backend on another node, and from another node to ours. */
#ifndef LB_ENCAP_H
#define LB_ENCAP_H

#include "lb_nat.h"
#include "lb_parse.h"

#define AF_INET 2
#define IP_DONT_FRAGMENT 0x4000
#define OUTER_TTL 64

static __always_inline enum lb_reason fib_reason(long result)
{
	switch (result) {
	case BPF_FIB_LKUP_RET_NO_NEIGH:
		return LB_no_neighbour;
	case BPF_FIB_LKUP_RET_FRAG_NEEDED:
		return LB_too_big;
	case BPF_FIB_LKUP_RET_FWD_DISABLED:
		return LB_forwarding_off;
	default:
		return LB_no_route;
	}
}

/* __builtin_memcmp would become a call to a function that BPF does not have. */
static __always_inline bool same_address(const __u8 *one, const __u8 *other)
{
	__u8 differ = 0;

#pragma unroll
	for (int i = 0; i < ETH_ALEN; i++)
		differ |= one[i] ^ other[i];
	return !differ;
}

static __always_inline __u16 header_csum(const struct iphdr *ip)
{
	const __u16 *words = (const void *)ip;
	__u32 sum = 0;

#pragma unroll
	for (int i = 0; i < (int)(sizeof(*ip) / 2); i++)
		sum += words[i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/*
 * Sends the packet to a remote backend. The node routes it (FIB and neighbour of the kernel) straight to the pod's
 * address, so whatever routes Pod CIDRs there also routes this.
 *
 * The outer header always has DF: the receiving program takes no fragments. TTL of the inner header goes down by one,
 * as by any router (RFC 2003 section 3.1), which also ends a loop between nodes that disagree.
 */
static __always_inline enum lb_reason encapsulate(struct xdp_md *ctx, struct iphdr *ip, const struct lb_backend *backend,
						  __u32 *ifindex)
{
	const struct ethhdr *came = (void *)ip - sizeof(*came);
	void *data, *end;
	struct bpf_fib_lookup fib = {
		.family = AF_INET,
		.l4_protocol = IPPROTO_IPIP,
		.tos = ip->tos,
		.ipv4_src = backend->source_be,
		.ipv4_dst = backend->address_be,
		.tot_len = bpf_ntohs(ip->tot_len) + sizeof(*ip),
		.ifindex = ctx->ingress_ifindex,
	};
	struct iphdr outer = {
		.version = 4,
		.ihl = 5,
		.tos = ip->tos, /* DSCP, and ECN as in RFC 6040 normal mode */
		.tot_len = bpf_htons(bpf_ntohs(ip->tot_len) + sizeof(*ip)),
		.frag_off = bpf_htons(IP_DONT_FRAGMENT),
		.ttl = OUTER_TTL,
		.protocol = IPPROTO_IPIP,
		.saddr = backend->source_be,
		.daddr = backend->address_be,
	};
	struct ethhdr *eth;
	long result;

	if (ip->ttl <= 1)
		return LB_ttl;
	if (!backend->source_be)
		return LB_no_route;
	result = bpf_fib_lookup(ctx, &fib, sizeof(fib), 0);
	if (result != BPF_FIB_LKUP_RET_SUCCESS)
		return fib_reason(result);
	*ifindex = fib.ifindex;

	/* The kernel just told the address of the device that the packet came in by, if it leaves by the same. A bridge
	 * that floods gives everyone a copy; only the host that is addressed may send it on. */
	if (fib.ifindex == ctx->ingress_ifindex && !same_address(came->h_dest, fib.smac))
		return LB_other_host;

	ip->check = csum_update(ip->check, csum_delta16(bpf_htons((__u16)ip->ttl << 8), bpf_htons((__u16)(ip->ttl - 1) << 8)));
	ip->ttl--;
	if (bpf_xdp_adjust_head(ctx, -(int)sizeof(outer)))
		return LB_no_headroom;
	data = packet_data(ctx);
	end = packet_data_end(ctx);
	eth = data;
	if (data + sizeof(*eth) + sizeof(outer) > end)
		return LB_truncated; /* cannot be: the verifier does not know */

	__builtin_memcpy(eth->h_dest, fib.dmac, ETH_ALEN);
	__builtin_memcpy(eth->h_source, fib.smac, ETH_ALEN);
	eth->h_proto = bpf_htons(ETH_P_IP);
	outer.check = header_csum(&outer);
	__builtin_memcpy(eth + 1, &outer, sizeof(outer));
	return fib.ifindex == ctx->ingress_ifindex ? LB_remote_tx : LB_remote_redirect;
}

/*
 * Takes an IPIP packet for one of our local backends out of its outer header and translates it. Everything else that is
 * IPIP belongs to somebody else and stays as it is. Bounds: `ip` has its fixed header within the packet.
 */
static __always_inline enum lb_reason decapsulate(struct xdp_md *ctx, struct iphdr *ip, bool probing)
{
	void *data, *end = packet_data_end(ctx);
	struct iphdr *inner = ip + 1;
	struct lb_decap_key key = {};
	struct lb_decap *decap;
	enum lb_reason why;
	struct transport l4;
	struct ethhdr eth;
	__be32 address = ip->daddr;
	__be16 port;

	if (ip->ihl != 5 || is_fragment(ip) || (void *)(inner + 1) > end || inner->version != 4)
		return LB_not_ours;
	if (bpf_ntohs(ip->tot_len) < bpf_ntohs(inner->tot_len) + sizeof(*ip))
		return LB_not_ours;
	if (!find_transport(ctx, inner, &l4, &why))
		return LB_not_ours;
	key.backend_be = address;
	key.vip_be = inner->daddr;
	key.port_be = l4.ports->dest;
	key.protocol = l4.protocol;
	decap = bpf_map_lookup_elem(&lb_decaps, &key);
	if (!decap)
		return LB_not_ours;
	port = decap->port_be;
	if (!probing && !remember_reply(inner, &l4, address, port))
		return LB_no_reply_entry;
	translate(inner, &l4, address, port);

	__builtin_memcpy(&eth, (void *)ip - sizeof(eth), sizeof(eth));
	if (bpf_xdp_adjust_head(ctx, sizeof(*ip)))
		return LB_no_headroom;
	data = packet_data(ctx);
	end = packet_data_end(ctx);
	if (data + sizeof(eth) > end)
		return LB_truncated; /* cannot be: the verifier does not know */
	__builtin_memcpy(data, &eth, sizeof(eth));
	return LB_decapsulated;
}

#endif
