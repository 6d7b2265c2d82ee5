/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* From another node: a packet for one of our local backends, taken out of its outer headers and translated. */
#ifndef LB_DECAP_H
#define LB_DECAP_H

#include "lb_fragment.h"
#include "lb_frame.h"
#include "lb_geneve.h"
#include "lb_icmp.h"
#include "lb_nat.h"

/* IP in IP, without options or extension headers. */
static __always_inline bool is_tunnel(const struct packet *p)
{
	return p->protocol == (p->family == AF_INET ? IPPROTO_IPIP : IPPROTO_IPV6) && p->l4 - p->l3 == ip_header(p->family);
}

/* More parsed packets, for which the stack has no room: what an error quotes, and an error that was encapsulated. Each CPU
 * is done with them before the next packet comes. */
#define SCRATCH_QUOTED 0
#define SCRATCH_INNER 1
LB_MAP(lb_scratch, PERCPU_ARRAY, 0, 2, __u32, struct packet);

static __always_inline struct packet *scratch(__u32 which)
{
	return bpf_map_lookup_elem(&lb_scratch, &which);
}

/* The flow that an ICMP error to a VIP is about. NULL if what it quotes is not there, has no ports, or is another's. */
static __always_inline struct packet *parse_quoted(struct xdp_md *ctx, const struct packet *p)
{
	struct packet *quoted = scratch(SCRATCH_QUOTED);

	if (!quoted || !is_icmp_error(p))
		return NULL;
	quoted->family = p->family;
	quoted->l3 = p->l4 + sizeof(struct icmp);
	quoted->flags = PACKET_QUOTED;
	quoted->tcp = 0;
	if (xdp_lb_parse(ctx, quoted) != PARSE_FINE || quoted->flags & PACKET_LATER_FRAGMENT || is_icmp(quoted))
		return NULL;
	reverse(quoted);
	return same_address(&p->dest, &quoted->dest) ? quoted : NULL;
}

/* The port of the local backend `outer->dest` that takes this flow, -1 if there is none. */
__attribute__((noinline)) int lb_decap_port(const struct packet *outer, const struct packet *flow)
{
	struct lb_decap_key key = {};
	const struct lb_decap *found;

	if (!outer || !flow)
		return -1;
	key.backend = outer->dest;
	key.vip = flow->dest;
	key.port_be = flow->ports.dest;
	key.protocol = flow->protocol;
	found = bpf_map_lookup_elem(&lb_decaps, &key);
	return found ? found->port_be : -1;
}

/* Takes the outer headers away. */
__attribute__((noinline)) int lb_strip(struct xdp_md *ctx, const struct packet *outer)
{
	struct link_header link = {};

	if (!outer || !take_link_header(ctx, outer, &link))
		return LB_truncated;
	if (bpf_xdp_adjust_head(ctx, outer->l4 - outer->l3))
		return LB_no_headroom;
	return put_link_header(ctx, outer, &link, outer->l3) ? LB_decapsulated : LB_truncated;
}

#define DECAPSULATE_ERROR -1
#define DECAPSULATE_DAMAGED -2 /* what is inside is no whole packet */

/* After DECAPSULATE_ERROR: an ICMP error about something that the backend sent. */
__attribute__((noinline)) int lb_decapsulate_error(struct xdp_md *ctx, const struct packet *outer)
{
	struct packet *p = scratch(SCRATCH_INNER), *quoted;
	struct target to = {};
	int port;

	if (!outer || !p)
		return LB_not_ours;
	p->family = outer->family;
	p->l3 = outer->l4;
	p->flags = 0;
	if (xdp_lb_parse(ctx, p) != PARSE_FINE)
		return LB_not_ours;
	quoted = parse_quoted(ctx, p);
	if (!quoted)
		return LB_not_ours;
	port = lb_decap_port(outer, quoted);
	if (port < 0)
		return LB_not_ours;
	to.address = outer->dest;
	to.port = port;
	return translate_error(ctx, p, quoted, &to) ? lb_strip(ctx, outer) : LB_truncated;
}

/*
 * `outer`: of IP in IP, or what lb_open_geneve() made of it; the packet inside begins at outer->l4. LB_not_ours: there is no
 * such backend here. `answer->magic`: it is a probe, and leaves no entry.
 */
__attribute__((noinline)) int lb_decapsulate(struct xdp_md *ctx, const struct packet *outer, const struct lb_probe *answer)
{
	struct packet p = {};
	struct target to = {};
	int port;

	if (!outer || !answer)
		return LB_not_ours;
	if (outer->flags & (PACKET_FIRST_FRAGMENT | PACKET_LATER_FRAGMENT))
		return DECAPSULATE_DAMAGED;
	p.family = outer->family;
	p.l3 = outer->l4;
	if (xdp_lb_parse(ctx, &p) != PARSE_FINE || outer->length < p.length + (outer->l4 - outer->l3))
		return DECAPSULATE_DAMAGED;
	if (is_icmp(&p))
		return DECAPSULATE_ERROR;
	if (p.flags & PACKET_LATER_FRAGMENT && !lb_recall_fragment(&p))
		return find_vip(&p.dest) ? LB_fragment : LB_not_ours;
	port = lb_decap_port(outer, &p);
	if (port < 0)
		return LB_not_ours;
	to.address = outer->dest;
	to.port = port;
	if (!answer->magic) {
		if (p.flags & PACKET_FIRST_FRAGMENT && !lb_remember_fragment(&p))
			return LB_no_fragment_entry;
		if (!lb_remember_reply(ctx, &p, &to))
			return LB_no_reply_entry;
	}
	return translate(ctx, &p, &to) ? lb_strip(ctx, outer) : LB_truncated;
}

#endif
