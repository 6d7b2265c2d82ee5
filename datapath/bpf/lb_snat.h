/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * SNAT: a remote backend gets the packet from an address of this node, so its answer comes back here, and leaves with the
 * VIP as its source. The backend's node needs nothing of ours; it does not learn the client's address.
 *
 *   client:40000 -> VIP:80      lb_snat()        node:61234 -> backend:8080
 *   VIP:80 -> client:40000      lb_snat_reply()  backend:8080 -> node:61234
 */
#ifndef LB_SNAT_H
#define LB_SNAT_H

#include "lb_decap.h"
#include "lb_encap.h"
#include "lb_flow.h"
#include "lb_hop.h"
#include "lb_nat.h"
#include "lb_sieve.h"
#include "lb_snat_ports.h"

static __always_inline const struct lb_sieve *snat_range(void)
{
	__u32 first = 0;

	return bpf_map_lookup_elem(&lb_sieve, &first);
}

#define SNAT_SAYS -1 /* lb_snat_source(): a packet for lb_snat_client_says() */

/* Is there a frontend with LB_FRONTEND_SNAT, or was there one? */
static __always_inline bool snat_used(void)
{
	const struct lb_sieve *range = snat_range();

	return range && range->snat_first;
}

/* --- who has which port -------------------------------------------------------------------------------------------- */

/*
 * The client's packet says something about its connection. Rare: the handshake and the end. An acknowledgement of what the
 * backend said is nothing that a sender of forged SYNs can make (lb_nat.h does the same).
 */
__attribute__((noinline)) int lb_snat_client_says(struct xdp_md *ctx, const struct packet *p)
{
	struct lb_snat_flow *mine;
	struct lb_snat_port *port;
	struct lb_flow_key key;
	struct tcphdr *tcp;

	if (!p)
		return false;
	flow_key(&key, p);
	mine = bpf_map_lookup_elem(&lb_snat_flows, &key);
	if (!mine)
		return false;
	port = bpf_map_lookup_elem(&lb_snat_ports, &mine->to);
	if (!port)
		return false;
	if ((p->tcp & (TCP_SYN | TCP_ACK)) == TCP_SYN && snat_closed(mine->state, port->state)) {
		mine->state = port->state = 0; /* the client uses its port again */
		return true;
	}
	if (port->state & LB_SNAT_ANSWERED && !(port->state & LB_SNAT_ESTABLISHED)) {
		tcp = p->protocol == IPPROTO_TCP ? at(ctx, p->l4, sizeof(*tcp)) : NULL;
		if (p->protocol != IPPROTO_TCP ||
		    (tcp && (p->tcp & (TCP_SYN | TCP_ACK)) == TCP_ACK && tcp->ack_seq == port->expect_be)) {
			mine->state |= LB_SNAT_ESTABLISHED;
			port->state |= LB_SNAT_ESTABLISHED;
		}
	}
	if (p->tcp & TCP_FIN)
		mine->state |= LB_SNAT_FIN;
	if (p->tcp & TCP_RST)
		mine->state |= LB_SNAT_RST;
	return true;
}

/* The same of the backend's packet. */
static __always_inline void snat_backend_says(struct xdp_md *ctx, const struct packet *p, struct lb_snat_port *port)
{
	struct tcphdr *tcp;

	if (!(port->state & LB_SNAT_ESTABLISHED)) {
		tcp = p->protocol == IPPROTO_TCP ? at(ctx, p->l4, sizeof(*tcp)) : NULL;
		if (tcp)
			port->expect_be = bpf_htonl(bpf_ntohl(tcp->seq) + p->l3 + p->length - p->l4 - tcp->doff * 4 +
						    tcp->syn + tcp->fin);
		port->state |= LB_SNAT_ANSWERED;
	}
	if (p->tcp & TCP_FIN)
		port->state |= LB_SNAT_FIN;
	if (p->tcp & TCP_RST)
		port->state |= LB_SNAT_RST;
}

/* A port for a flow that has none. */
__attribute__((noinline)) int lb_snat_open(const struct packet *p, __u32 id)
{
	const struct lb_backend *backend = bpf_map_lookup_elem(&lb_backends, &id);
	const struct lb_sieve *range = snat_range();
	struct snat_work *work = snat_work();

	if (!p || !backend || !range || !work || no_address(&backend->source))
		return false;
	__builtin_memset(&work->mine, 0, sizeof(work->mine));
	__builtin_memset(&work->port, 0, sizeof(work->port));
	flow_key(&work->flow, p);
	work->mine.to.backend = backend->address;
	work->mine.to.node = backend->source;
	work->mine.to.backend_port_be = backend->port_be;
	work->mine.to.protocol = p->protocol;
	work->port.flow = work->flow;
	work->port.device = p->vlan[0] ? 0 : p->device;
	work->mine.seen = work->port.seen = coarse_now();
	if (!lb_snat_take(range->snat_first, range->snat_last - range->snat_first + 1))
		return false;
	if (!bpf_map_update_elem(&lb_snat_flows, &work->flow, &work->mine, BPF_NOEXIST))
		return true;
	/* Another CPU was faster with this flow, or the table is full: then the caller will find nothing. */
	bpf_map_delete_elem(&lb_snat_ports, &work->mine.to);
	return true;
}

/* The entry of this flow towards this backend, NULL if it has none. One towards another backend is given up. */
static __always_inline struct lb_snat_flow *snat_find(const struct lb_flow_key *key, const struct lb_backend *backend, bool keep)
{
	struct lb_snat_flow *mine = bpf_map_lookup_elem(&lb_snat_flows, key);

	if (!mine || (same_address(&mine->to.backend, &backend->address) && mine->to.backend_port_be == backend->port_be))
		return mine;
	if (!keep) {
		bpf_map_delete_elem(&lb_snat_ports, &mine->to);
		bpf_map_delete_elem(&lb_snat_flows, key);
	}
	return NULL;
}

/*
 * From where the packet goes to the backend. LB_no_snat_port: this flow has no port yet. `probing`: nothing is learnt, and a
 * flow without a port gets the first one. SNAT_SAYS: the packet says something about its connection.
 */
__attribute__((noinline)) int lb_snat_source(const struct packet *p, __u32 id, __u32 probing, struct target *from)
{
	const struct lb_backend *backend = bpf_map_lookup_elem(&lb_backends, &id);
	const struct lb_sieve *range = snat_range();
	struct lb_snat_flow *mine;
	struct lb_flow_key key;
	__u32 now;

	if (!p || !from || !backend || !range)
		return LB_bad_row;
	flow_key(&key, p);
	mine = snat_find(&key, backend, probing);
	if (!mine && !probing)
		return LB_no_snat_port;
	from->address = mine ? mine->to.node : backend->source;
	from->port = mine ? mine->to.node_port_be : bpf_htons(range->snat_first);
	if (!mine || probing)
		return 0;
	now = coarse_now();
	if (mine->seen != now)
		mine->seen = now;
	return mine->state != LB_SNAT_ESTABLISHED || p->tcp & (TCP_SYN | TCP_FIN | TCP_RST) ? SNAT_SAYS : 0;
}

/* --- rewriting ----------------------------------------------------------------------------------------------------- */

/* Addresses and TTL of the IP header at p->l3. */
static __always_inline bool readdress(struct xdp_md *ctx, const struct packet *p, const struct target *from,
				      const struct target *to, bool forward)
{
	if (p->family == AF_INET) {
		struct iphdr *ip = at(ctx, p->l3, sizeof(*ip));
		__u64 delta;

		if (!ip)
			return false;
		delta = csum_delta32(ip->saddr, from->address.word_be[3]) + csum_delta32(ip->daddr, to->address.word_be[3]);
		if (forward)
			delta += csum_delta16(bpf_htons(p->ttl << 8), bpf_htons((p->ttl - 1) << 8));
		ip->check = csum_update(ip->check, delta);
		ip->saddr = from->address.word_be[3];
		ip->daddr = to->address.word_be[3];
		ip->ttl -= forward;
	} else {
		struct ipv6hdr *ip = at(ctx, p->l3, sizeof(*ip));

		if (!ip)
			return false;
		__builtin_memcpy(&ip->saddr, &from->address, sizeof(from->address));
		__builtin_memcpy(&ip->daddr, &to->address, sizeof(to->address));
		ip->hop_limit -= forward;
	}
	return true;
}

/* Both addresses and both ports. `forward`: it is sent on from here, so it has one hop less (RFC 1812 section 5.3.1). */
__attribute__((noinline)) int lb_snat_rewrite(struct xdp_md *ctx, const struct packet *p, const struct target *from,
					      const struct target *to, bool forward)
{
	struct ports old, new;
	__u64 delta;

	if (!p || !from || !to || !readdress(ctx, p, from, to, forward))
		return false;
	if (p->flags & PACKET_LATER_FRAGMENT)
		return true;
	old = p->ports;
	new.source = from->port;
	new.dest = to->port;
	delta = csum_delta_address(&p->source, &from->address) + csum_delta_address(&p->dest, &to->address) +
		csum_delta16(old.source, new.source) + csum_delta16(old.dest, new.dest);
	if (p->protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = at(ctx, p->l4, sizeof(*tcp));

		if (!tcp)
			return false;
		tcp->check = csum_update(tcp->check, delta);
		*(struct ports *)tcp = new;
	} else if (p->protocol == IPPROTO_UDP) {
		struct udphdr *udp = at(ctx, p->l4, sizeof(*udp));

		if (!udp)
			return false;
		udp->check = csum_update_udp(udp->check, delta);
		*(struct ports *)udp = new;
	} else {
		struct sctp *sctp = at(ctx, p->l4, sizeof(*sctp));
		__u32 behind = p->l3 + p->length - p->l4 - sizeof(sctp->ports);
		__u32 change = (__u32)(old.source ^ new.source) | (__u32)(old.dest ^ new.dest) << 16;

		if (!sctp)
			return false;
		sctp->check = lb_sctp_check(sctp->check, change, behind);
		sctp->ports = new;
	}
	return true;
}

/* Out of line: four times in a row it would take more of the stack than there is. */
__attribute__((noinline)) __u64 lb_csum_delta(const struct lb_address *from, const struct lb_address *to)
{
	return from && to ? csum_delta_address(from, to) : 0;
}

/*
 * An ICMP error, and what it quotes, which went the other way: so `from` takes the place of the quoted destination, and `to`
 * that of the quoted source (RFC 5508 section 4.2). The error itself comes from the address that stands for everything
 * behind us: whose router it was is of no use to the other side, and might be taken for forged there.
 */
__attribute__((noinline)) int lb_snat_rewrite_error(struct xdp_md *ctx, const struct packet *p, const struct packet *quoted,
						    const struct target *from, const struct target *to)
{
	struct icmp *icmp;
	struct ports *ports;
	__u64 delta;

	if (!p || !quoted || !from || !to || !readdress(ctx, p, from, to, true))
		return false;
	/* parse_quoted() has turned `quoted` round. */
	delta = csum_delta16(quoted->ports.dest, to->port) + csum_delta16(quoted->ports.source, from->port);
	if (p->family == AF_INET) {
		struct iphdr *ip = at(ctx, quoted->l3, sizeof(*ip));

		if (!ip)
			return false;
		/* Its own checksum makes up for the addresses. */
		ip->check = csum_update(ip->check, csum_delta32(ip->saddr, to->address.word_be[3]) +
							   csum_delta32(ip->daddr, from->address.word_be[3]));
		ip->saddr = to->address.word_be[3];
		ip->daddr = from->address.word_be[3];
	} else {
		struct ipv6hdr *ip = at(ctx, quoted->l3, sizeof(*ip));

		if (!ip)
			return false;
		/* Those of the pseudo-header count too. */
		delta += lb_csum_delta(&quoted->dest, &to->address) + lb_csum_delta(&quoted->source, &from->address) +
			 lb_csum_delta(&p->dest, &to->address) + lb_csum_delta(&p->source, &from->address);
		__builtin_memcpy(&ip->saddr, &to->address, sizeof(to->address));
		__builtin_memcpy(&ip->daddr, &from->address, sizeof(from->address));
	}
	ports = at(ctx, quoted->l4, sizeof(*ports));
	icmp = at(ctx, p->l4, sizeof(*icmp));
	if (!ports || !icmp)
		return false;
	ports->source = to->port;
	ports->dest = from->port;
	icmp->check = csum_update(icmp->check, delta);
	return true;
}

/* The frame to the next hop: as it came if it leaves by the device that it came in by, else without tags. 0 or a reason. */
__attribute__((noinline)) int lb_snat_frame(struct xdp_md *ctx, const struct packet *p, const struct lb_hop *hop)
{
	struct tags tags = {};
	__u32 l3;

	if (!p || !hop || !take_tags(ctx, p, &tags))
		return LB_truncated;
	l3 = hop->ifindex == p->device ? p->l3 : sizeof(struct ether);
	if (l3 != p->l3 && bpf_xdp_adjust_head(ctx, (int)p->l3 - (int)l3))
		return LB_no_headroom;
	return put_link(ctx, p, &hop->dmac, &hop->smac, &tags, l3) ? 0 : LB_truncated;
}

/* --- to the backend ------------------------------------------------------------------------------------------------ */

/* What both directions have to ask before a packet is changed. 0, or how it ends. */
static __always_inline int snat_way(struct xdp_md *ctx, const struct packet *p, __u32 id, struct lb_probe *answer,
				    struct lb_hop *hop, struct target *to)
{
	struct lb_backend *backend = bpf_map_lookup_elem(&lb_backends, &id);
	int why;

	if (!backend)
		return LB_bad_row;
	why = find_way(ctx, p, id, backend, answer->magic, 0, hop);
	if (why)
		return why;
	to->address = backend->address;
	to->port = backend->port_be;
	return 0;
}

static __always_inline int snat_leave(struct xdp_md *ctx, const struct packet *p, const struct lb_hop *hop, struct lb_probe *answer)
{
	int why = lb_snat_frame(ctx, p, hop);

	answer->ifindex = hop->ifindex;
	if (why)
		return why;
	return hop->ifindex == p->device ? LB_snat_tx : LB_snat_redirect;
}

/* Sends a packet to the remote backend `id`. */
__attribute__((noinline)) int lb_snat(struct xdp_md *ctx, const struct packet *p, __u32 id, struct lb_probe *answer)
{
	struct snat_work *work = snat_work();
	int why;

	if (!p || !answer || !work)
		return LB_bad_row;
	why = snat_way(ctx, p, id, answer, &work->hop, &work->to);
	if (why)
		return why;
	why = lb_snat_source(p, id, answer->magic, &work->from);
	if (why == LB_no_snat_port && lb_snat_open(p, id))
		why = lb_snat_source(p, id, answer->magic, &work->from);
	if (why == SNAT_SAYS)
		lb_snat_client_says(ctx, p);
	else if (why)
		return why;
	if (!lb_snat_rewrite(ctx, p, &work->from, &work->to, true))
		return LB_truncated;
	return snat_leave(ctx, p, &work->hop, answer);
}

/* Sends an ICMP error about what the backend `answer->backend` answered to that backend. lb_icmp() has parsed both. */
__attribute__((noinline)) int lb_snat_error(struct xdp_md *ctx, const struct packet *p, struct lb_probe *answer)
{
	struct packet *quoted = scratch(SCRATCH_QUOTED);
	struct snat_work *work = snat_work();
	const struct lb_snat_flow *mine;
	struct lb_flow_key key;
	int why;

	if (!p || !answer || !quoted || !work)
		return LB_icmp;
	flow_key(&key, quoted);
	mine = bpf_map_lookup_elem(&lb_snat_flows, &key);
	if (!mine)
		return LB_icmp;
	work->from.address = mine->to.node;
	work->from.port = mine->to.node_port_be;
	why = snat_way(ctx, p, answer->backend, answer, &work->hop, &work->to);
	if (why)
		return why;
	if (!same_address(&mine->to.backend, &work->to.address) || mine->to.backend_port_be != work->to.port)
		return LB_icmp;
	if (!lb_snat_rewrite_error(ctx, p, quoted, &work->from, &work->to))
		return LB_truncated;
	return snat_leave(ctx, p, &work->hop, answer);
}

/* --- back to the client -------------------------------------------------------------------------------------------- */

/* The way to the client. LB_snat_reply_...: how the packet leaves. */
__attribute__((noinline)) int lb_snat_back(struct xdp_md *ctx, const struct packet *p, const struct lb_snat_port *port,
					   struct lb_hop *hop)
{
	struct bpf_fib_lookup fib = {};

	if (!p || !port || !hop)
		return LB_truncated;
	fib.ifindex = p->device;
	fib.tot_len = 1; /* not 0: then the MTU is told */
	fib.l4_protocol = p->protocol;
	if (p->family == AF_INET) {
		fib.family = AF_INET;
		fib.ipv4_src = port->flow.vip.word_be[3];
		fib.ipv4_dst = port->flow.client.word_be[3];
	} else {
		fib.family = AF_INET6;
		__builtin_memcpy(fib.ipv6_src, &port->flow.vip, sizeof(fib.ipv6_src));
		__builtin_memcpy(fib.ipv6_dst, &port->flow.client, sizeof(fib.ipv6_dst));
	}
	if (bpf_fib_lookup(ctx, &fib, sizeof(fib), 0) != BPF_FIB_LKUP_RET_SUCCESS)
		return LB_snat_reply_stack;
	hop_of(hop, &fib);
	if (fib.ifindex == p->device)
		return LB_snat_reply_tx;
	return fib.ifindex == port->device ? LB_snat_reply_redirect : LB_snat_reply_stack;
}

static __always_inline struct lb_snat_port *snat_port(struct lb_snat_key *key, const struct packet *p)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->backend = p->source;
	key->node = p->dest;
	key->backend_port_be = p->ports.source;
	key->node_port_be = p->ports.dest;
	key->protocol = p->protocol;
	return bpf_map_lookup_elem(&lb_snat_ports, key);
}

/* A packet, or an ICMP error if `quoted`, that belongs to the flow of `port` goes to the client. */
static __always_inline int snat_return(struct xdp_md *ctx, const struct packet *p, const struct packet *quoted,
				       const struct lb_snat_port *port, struct lb_probe *answer)
{
	struct snat_work *work = snat_work();
	int way, why;

	if (!work)
		return LB_bad_row;
	work->from.address = port->flow.vip;
	work->from.port = port->flow.port_be;
	work->to.address = port->flow.client;
	work->to.port = port->flow.client_port_be;
	way = lb_snat_back(ctx, p, port, &work->hop);
	if (way != LB_snat_reply_stack) {
		if (p->ttl <= 1)
			return LB_ttl;
		if (flooded(ctx, p, &work->hop))
			return LB_other_host;
		if (p->length > work->hop.mtu)
			return lb_mtu_answer(ctx, p, work->hop.mtu);
	}
	if (!(quoted ? lb_snat_rewrite_error(ctx, p, quoted, &work->from, &work->to) :
		       lb_snat_rewrite(ctx, p, &work->from, &work->to, way != LB_snat_reply_stack)))
		return LB_truncated;
	if (way == LB_snat_reply_stack)
		return way;
	answer->ifindex = work->hop.ifindex;
	why = lb_snat_frame(ctx, p, &work->hop);
	return why ? why : way;
}

/* A packet to one of our ports. LB_not_ours if no flow has it. */
__attribute__((noinline)) int lb_snat_reply(struct xdp_md *ctx, const struct packet *p, struct lb_probe *answer)
{
	struct lb_snat_port *port;
	struct lb_snat_key key;
	__u32 now = coarse_now();

	if (!p || !answer)
		return LB_not_ours;
	port = snat_port(&key, p);
	if (!port)
		return LB_not_ours;
	if (!answer->magic) {
		if (p->flags & PACKET_FIRST_FRAGMENT && !lb_remember_fragment(p))
			return LB_no_fragment_entry;
		if (port->seen != now)
			port->seen = now;
		if (!(p->flags & PACKET_LATER_FRAGMENT) &&
		    (!(port->state & LB_SNAT_ESTABLISHED) || p->tcp & (TCP_FIN | TCP_RST)))
			snat_backend_says(ctx, p, port);
	}
	return snat_return(ctx, p, NULL, port, answer);
}

/* An ICMP error to an address of this node. LB_not_ours unless it is about a flow to a backend. */
__attribute__((noinline)) int lb_snat_reply_error(struct xdp_md *ctx, const struct packet *p, struct lb_probe *answer)
{
	const struct lb_snat_port *port;
	struct lb_snat_key key;
	struct packet *quoted;

	if (!p || !answer)
		return LB_not_ours;
	quoted = parse_quoted(ctx, p);
	if (!quoted)
		return LB_not_ours;
	port = snat_port(&key, quoted);
	return port ? snat_return(ctx, p, quoted, port, answer) : LB_not_ours;
}

#endif
