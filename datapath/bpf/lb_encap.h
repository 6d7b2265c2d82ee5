/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* To a backend on another node: by IP in IP (RFC 2003) or IPv6 in IPv6 (RFC 2473) straight to it, by Geneve to its node. */
#ifndef LB_ENCAP_H
#define LB_ENCAP_H

#include "lb_frame.h"
#include "lb_geneve.h"
#include "lb_hop.h"
#include "lb_maps.h"
#include "lb_packet.h"
#include "lb_stacked.h"

#define OUTER_TTL 64

/* One hop less, as by any router (RFC 2003 section 3.1), which also ends a loop between nodes that disagree. */
static __always_inline bool decrement_ttl(struct xdp_md *ctx, const struct packet *p)
{
	__u32 sum;

	if (p->family == AF_INET) {
		struct iphdr *ip = at(ctx, p->l3, sizeof(*ip));

		if (!ip)
			return false;
		sum = ip->check + bpf_htons(1 << 8); /* as ip_decrease_ttl() of the kernel */
		ip->check = sum + (sum >= 0xffff);
		ip->ttl--;
	} else {
		struct ipv6hdr *ip = at(ctx, p->l3, sizeof(*ip));

		if (!ip)
			return false;
		ip->hop_limit--;
	}
	return true;
}

/* What the outer headers say. Which of the two kinds they are each caller knows at compile time. */
struct tunnel {
	const struct lb_address *source;
	const struct lb_address *dest;
	const struct lb_address *backend; /* named by Geneve; NULL: IP in IP */
};

/* Bytes of all outer headers. */
static __always_inline __u32 overhead(const struct packet *p, bool geneve)
{
	return ip_header(p->family) + (geneve ? geneve_length(p->family) : 0);
}

/* The outer header always has DF: the receiving program takes no fragments. */
static __always_inline bool push_ipv4(struct xdp_md *ctx, const struct packet *p, const struct tunnel *tunnel, __u32 l3)
{
	struct iphdr *ip = at(ctx, l3, sizeof(*ip));
	struct iphdr outer = {
		.version = 4,
		.ihl = 5,
		.tos = p->tos, /* DSCP, and ECN as in RFC 6040 normal mode */
		.tot_len = bpf_htons(p->length + overhead(p, tunnel->backend)),
		.frag_off = bpf_htons(IP_DONT_FRAGMENT),
		.ttl = OUTER_TTL,
		.protocol = tunnel->backend ? IPPROTO_UDP : IPPROTO_IPIP,
		.saddr = tunnel->source->word_be[3],
		.daddr = tunnel->dest->word_be[3],
	};

	if (!ip)
		return false;
	outer.check = header_csum(&outer);
	*ip = outer;
	return true;
}

/* The flow label lets routers spread the flows of a tunnel (RFC 6438). */
static __always_inline bool push_ipv6(struct xdp_md *ctx, const struct packet *p, const struct tunnel *tunnel, __u32 l3)
{
	struct ipv6hdr *ip = at(ctx, l3, sizeof(*ip));

	if (!ip)
		return false;
	*(__be32 *)ip = bpf_htonl(6 << 28 | (__u32)p->tos << 20 | (p->hash & 0xfffff));
	ip->payload_len = bpf_htons(p->length + overhead(p, tunnel->backend) - sizeof(*ip));
	ip->nexthdr = tunnel->backend ? IPPROTO_UDP : IPPROTO_IPV6;
	ip->hop_limit = OUTER_TTL;
	__builtin_memcpy(&ip->saddr, tunnel->source, sizeof(ip->saddr));
	__builtin_memcpy(&ip->daddr, tunnel->dest, sizeof(ip->daddr));
	return true;
}

static __always_inline bool push_headers(struct xdp_md *ctx, const struct packet *p, const struct tunnel *tunnel, __u32 l3)
{
	if (!(p->family == AF_INET ? push_ipv4(ctx, p, tunnel, l3) : push_ipv6(ctx, p, tunnel, l3)))
		return false;
	return !tunnel->backend || push_geneve(ctx, p, tunnel->backend, l3 + ip_header(p->family));
}

/* The frame in its new headers. `ifindex`: the device of `hop`; becomes the one to redirect to. */
static __always_inline enum lb_reason wrap(struct xdp_md *ctx, const struct packet *p, const struct lb_hop *hop,
					   struct tags *tags, const struct tunnel *tunnel, __u32 *ifindex)
{
	__u32 l3;

	*ifindex = hop->ifindex;
	/* Tags stay if it leaves by the network that it came from; another device has its own. */
	l3 = hop->ifindex == p->device ? p->l3 : put_tags(tags, p->family, ifindex);
	if (!decrement_ttl(ctx, p))
		return LB_truncated;
	if (bpf_xdp_adjust_head(ctx, (int)p->l3 - (int)l3 - (int)overhead(p, tunnel->backend)))
		return LB_no_headroom;
	if (!put_link(ctx, p, &hop->dmac, &hop->smac, tags, l3) || !push_headers(ctx, p, tunnel, l3))
		return LB_truncated;
	/* Also with another tag than it came with, if the wire is the same. */
	if (*ifindex == p->device)
		return tunnel->backend ? LB_geneve_tx : LB_remote_tx;
	return tunnel->backend ? LB_geneve_redirect : LB_remote_redirect;
}

/* Sends the packet to a remote backend by IP in IP. */
static __always_inline enum lb_reason encapsulate(struct xdp_md *ctx, const struct packet *p, __u32 id,
						  struct lb_backend *backend, bool probing, __u32 *ifindex)
{
	const struct tunnel tunnel = { .source = &backend->source, .dest = &backend->address };
	struct tags tags = {};
	struct lb_hop hop;
	int why;

	why = find_way(ctx, p, id, backend, probing, overhead(p, false), &hop);
	if (why)
		return why;
	if (!take_tags(ctx, p, &tags))
		return LB_truncated; /* cannot be: the verifier does not know */
	return wrap(ctx, p, &hop, &tags, &tunnel, ifindex);
}

/* On its own: together with lb_mtu_answer() it would take more of the stack than there is. */
__attribute__((noinline)) int lb_geneve_wrap(struct xdp_md *ctx, const struct packet *p, __u32 id, const struct lb_hop *hop,
					     struct lb_probe *answer)
{
	const struct lb_backend *backend = bpf_map_lookup_elem(&lb_backends, &id);
	struct tags tags = {};
	struct tunnel tunnel = {};

	if (!p || !hop || !answer || !backend)
		return LB_bad_row;
	tunnel.source = &backend->source;
	tunnel.dest = bpf_map_lookup_elem(&lb_nodes, &id);
	tunnel.backend = &backend->address;
	if (!tunnel.dest)
		return LB_bad_row;
	if (!take_tags(ctx, p, &tags))
		return LB_truncated;
	return wrap(ctx, p, hop, &tags, &tunnel, &answer->ifindex);
}

/* Sends the packet to the node of a remote backend by Geneve. */
__attribute__((noinline)) int lb_geneve(struct xdp_md *ctx, const struct packet *p, __u32 id, struct lb_probe *answer)
{
	struct lb_backend *backend = bpf_map_lookup_elem(&lb_backends, &id);
	struct lb_hop hop = {};
	int why;

	if (!p || !answer || !backend || !(backend->flags & LB_BACKEND_GENEVE))
		return LB_bad_row;
	why = find_way(ctx, p, id, backend, answer->magic, overhead(p, true), &hop);
	return why ? why : lb_geneve_wrap(ctx, p, id, &hop, answer);
}

#endif
