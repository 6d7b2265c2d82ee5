/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* IP in IP (RFC 2003) and IPv6 in IPv6 (RFC 2473): the way to a backend on another node. */
#ifndef LB_ENCAP_H
#define LB_ENCAP_H

#include "lb_frame.h"
#include "lb_icmp.h"
#include "lb_maps.h"
#include "lb_packet.h"
#include "lb_stacked.h"

#define OUTER_TTL 64

/* What the FIB says of a way. */
struct hop {
	__u32 ifindex;
	__u16 mtu;
	__u8 dmac[ETH_ALEN];
	__u8 smac[ETH_ALEN];
};

/*
 * Asks the kernel for the way to a backend: FIB and neighbour, straight to the pod's address, so whatever routes Pod CIDRs
 * there also routes this. 0, or the reason why there is none.
 */
__attribute__((noinline)) int lb_next_hop(struct xdp_md *ctx, const struct packet *p, __u32 id, struct hop *hop)
{
	const struct lb_backend *backend = bpf_map_lookup_elem(&lb_backends, &id);
	struct bpf_fib_lookup fib = {};

	if (!p || !hop || !backend || no_address(&backend->source))
		return LB_no_route;
	fib.ifindex = p->device;
	fib.tot_len = 1; /* not 0: then the MTU is told */
	if (p->family == AF_INET) {
		fib.family = AF_INET;
		fib.l4_protocol = IPPROTO_IPIP;
		fib.ipv4_src = backend->source.word_be[3];
		fib.ipv4_dst = backend->address.word_be[3];
	} else {
		fib.family = AF_INET6;
		fib.l4_protocol = IPPROTO_IPV6;
		__builtin_memcpy(fib.ipv6_src, &backend->source, sizeof(fib.ipv6_src));
		__builtin_memcpy(fib.ipv6_dst, &backend->address, sizeof(fib.ipv6_dst));
	}
	switch (bpf_fib_lookup(ctx, &fib, sizeof(fib), 0)) {
	case BPF_FIB_LKUP_RET_SUCCESS:
		break;
	case BPF_FIB_LKUP_RET_NO_NEIGH:
		return LB_no_neighbour;
	case BPF_FIB_LKUP_RET_FWD_DISABLED:
		return LB_forwarding_off;
	default:
		return LB_no_route;
	}
	hop->ifindex = fib.ifindex;
	hop->mtu = fib.mtu_result;
	__builtin_memcpy(hop->dmac, fib.dmac, ETH_ALEN);
	__builtin_memcpy(hop->smac, fib.smac, ETH_ALEN);
	return 0;
}

/*
 * The way to a backend, asked for at most once a jiffy: so a change of routes or neighbours is followed within
 * milliseconds, and at high rates a packet does not pay for it.
 *
 * The answer is kept in the backend's entry. Two CPUs may write it at once, but then both have just asked; a reader that
 * meets a writer in the middle of a change sends one packet to nowhere. A probe asks for itself and keeps nothing.
 */
static __always_inline int find_hop(struct xdp_md *ctx, const struct packet *p, __u32 id, struct lb_backend *backend,
				    bool probing, struct hop *hop)
{
	__u32 now = bpf_jiffies64();
	int why;

	if (!probing && backend->stamp == now && backend->ifindex) {
		hop->ifindex = backend->ifindex;
		hop->mtu = backend->mtu;
		__builtin_memcpy(hop->dmac, backend->dmac, ETH_ALEN);
		__builtin_memcpy(hop->smac, backend->smac, ETH_ALEN);
		return 0;
	}
	why = lb_next_hop(ctx, p, id, hop);
	if (why || probing)
		return why;
	backend->ifindex = hop->ifindex;
	backend->mtu = hop->mtu;
	__builtin_memcpy(backend->dmac, hop->dmac, ETH_ALEN);
	__builtin_memcpy(backend->smac, hop->smac, ETH_ALEN);
	backend->stamp = now;
	return 0;
}

/* One hop less, as by any router (RFC 2003 section 3.1), which also ends a loop between nodes that disagree. */
static __always_inline bool decrement_ttl(struct xdp_md *ctx, const struct packet *p)
{
	if (p->family == AF_INET) {
		struct iphdr *ip = at(ctx, p->l3, sizeof(*ip));

		if (!ip)
			return false;
		ip->check = csum_update(ip->check, csum_delta16(bpf_htons(p->ttl << 8), bpf_htons((p->ttl - 1) << 8)));
		ip->ttl--;
	} else {
		struct ipv6hdr *ip = at(ctx, p->l3, sizeof(*ip));

		if (!ip)
			return false;
		ip->hop_limit--;
	}
	return true;
}

/* The outer header always has DF: the receiving program takes no fragments. */
static __always_inline bool push_ipv4(struct xdp_md *ctx, const struct packet *p, const struct lb_backend *backend, __u32 l3)
{
	struct iphdr *ip = at(ctx, l3, sizeof(*ip));
	struct iphdr outer = {
		.version = 4,
		.ihl = 5,
		.tos = p->tos, /* DSCP, and ECN as in RFC 6040 normal mode */
		.tot_len = bpf_htons(p->length + sizeof(outer)),
		.frag_off = bpf_htons(IP_DONT_FRAGMENT),
		.ttl = OUTER_TTL,
		.protocol = IPPROTO_IPIP,
		.saddr = backend->source.word_be[3],
		.daddr = backend->address.word_be[3],
	};

	if (!ip)
		return false;
	outer.check = header_csum(&outer);
	*ip = outer;
	return true;
}

/* The flow label lets routers spread the flows of a tunnel (RFC 6438). */
static __always_inline bool push_ipv6(struct xdp_md *ctx, const struct packet *p, const struct lb_backend *backend, __u32 l3)
{
	struct ipv6hdr *ip = at(ctx, l3, sizeof(*ip));

	if (!ip)
		return false;
	*(__be32 *)ip = bpf_htonl(6 << 28 | (__u32)p->tos << 20 | (p->hash & 0xfffff));
	ip->payload_len = bpf_htons(p->length);
	ip->nexthdr = IPPROTO_IPV6;
	ip->hop_limit = OUTER_TTL;
	__builtin_memcpy(&ip->saddr, &backend->source, sizeof(ip->saddr));
	__builtin_memcpy(&ip->daddr, &backend->address, sizeof(ip->daddr));
	return true;
}

/* Sends the packet to a remote backend. */
static __always_inline enum lb_reason encapsulate(struct xdp_md *ctx, const struct packet *p, __u32 id,
						  struct lb_backend *backend, bool probing, __u32 *ifindex)
{
	__u32 overhead = p->family == AF_INET ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
	struct link_header link = {};
	struct hop hop;
	__u32 l3;
	int why;

	if (p->ttl <= 1)
		return LB_ttl;
	why = find_hop(ctx, p, id, backend, probing, &hop);
	if (why)
		return why;
	if (!take_link_header(ctx, p, &link))
		return LB_truncated; /* cannot be: the verifier does not know */
	/* The kernel just told the address of the device that the packet came in by, if it leaves by the same. A bridge
	 * that floods gives everyone a copy; only the host that is addressed may send it on. */
	if (hop.ifindex == p->device && !same_mac(link.eth.h_dest, hop.smac))
		return LB_other_host;
	if (p->length + overhead > hop.mtu)
		return lb_mtu_answer(ctx, p, hop.mtu - overhead);
	*ifindex = hop.ifindex;

	/* Tags stay if it leaves by the network that it came from; another device has its own. */
	l3 = hop.ifindex == p->device ? p->l3 : put_tags(&link, p->family, ifindex);
	if (!decrement_ttl(ctx, p))
		return LB_truncated;
	if (bpf_xdp_adjust_head(ctx, (int)p->l3 - (int)l3 - (int)overhead))
		return LB_no_headroom;
	__builtin_memcpy(link.eth.h_dest, hop.dmac, ETH_ALEN);
	__builtin_memcpy(link.eth.h_source, hop.smac, ETH_ALEN);
	if (!put_link_header(ctx, p, &link, l3) ||
	    !(p->family == AF_INET ? push_ipv4(ctx, p, backend, l3) : push_ipv6(ctx, p, backend, l3)))
		return LB_truncated;
	/* Also with another tag than it came with, if the wire is the same. */
	return *ifindex == p->device ? LB_remote_tx : LB_remote_redirect;
}

#endif
