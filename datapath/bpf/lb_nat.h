/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Translation to a local backend, and the entry by which its reply is translated back (lb_reply.h). */
#ifndef LB_NAT_H
#define LB_NAT_H

#include "lb_maps.h"
#include "lb_packet.h"
#include "lb_sctp.h"

/* Where a packet is to be taken: struct lb_backend's address and port. */
struct target {
	struct lb_address address;
	__be16 port;
};

/* The destination address in the IP header at `l3`, with its checksum. */
static __always_inline bool translate_dest(struct xdp_md *ctx, const struct packet *p, const struct lb_address *address)
{
	if (p->family == AF_INET) {
		struct iphdr *ip = at(ctx, p->l3, sizeof(*ip));

		if (!ip)
			return false;
		ip->check = csum_update(ip->check, csum_delta32(ip->daddr, address->word_be[3]));
		ip->daddr = address->word_be[3];
	} else {
		struct ipv6hdr *ip = at(ctx, p->l3, sizeof(*ip));

		if (!ip)
			return false;
		__builtin_memcpy(&ip->daddr, address, sizeof(*address));
	}
	return true;
}

/* Rewrites destination address and port in place. A later fragment has no port. */
static __always_inline bool translate(struct xdp_md *ctx, const struct packet *p, const struct target *to)
{
	__u64 delta = csum_delta_address(&p->dest, &to->address) + csum_delta16(p->ports.dest, to->port);

	if (!translate_dest(ctx, p, &to->address))
		return false;
	if (p->flags & PACKET_LATER_FRAGMENT)
		return true;
	if (p->protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = at(ctx, p->l4, sizeof(*tcp));

		if (!tcp)
			return false;
		tcp->check = csum_update(tcp->check, delta);
		tcp->dest = to->port;
	} else if (p->protocol == IPPROTO_UDP) {
		struct udphdr *udp = at(ctx, p->l4, sizeof(*udp));

		if (!udp)
			return false;
		udp->check = csum_update_udp(udp->check, delta);
		udp->dest = to->port;
	} else {
		struct sctp *sctp = at(ctx, p->l4, sizeof(*sctp));
		__u32 behind = p->l3 + p->length - p->l4 - sizeof(sctp->ports);

		if (!sctp)
			return false;
		if (p->ports.dest != to->port) {
			sctp->check = lb_sctp_check(sctp->check, (__u32)(p->ports.dest ^ to->port) << 16, behind);
			sctp->ports.dest = to->port;
		}
	}
	return true;
}

/*
 * An ICMP error to the VIP: `quoted` is the packet inside of it, one that the backend sent and that was translated on its
 * way out; reverse() has made it one to the VIP. Turned back into what the backend knows (RFC 5508 section 4.2).
 * Destination of the error and source of what it quotes are the same address. The checksum of the quoted transport header stays: it is cut off or not looked at.
 */
static __always_inline bool translate_error(struct xdp_md *ctx, const struct packet *p, const struct packet *quoted,
					    const struct target *to)
{
	__u64 address_delta = csum_delta_address(&p->dest, &to->address);
	__u64 port_delta = csum_delta16(quoted->ports.dest, to->port);
	struct icmp *icmp;
	__be16 *port;

	if (!translate_dest(ctx, p, &to->address))
		return false;
	if (p->family == AF_INET) {
		struct iphdr *ip = at(ctx, quoted->l3, sizeof(*ip));

		if (!ip)
			return false;
		ip->check = csum_update(ip->check, csum_delta32(ip->saddr, to->address.word_be[3]));
		ip->saddr = to->address.word_be[3];
	} else {
		struct ipv6hdr *ip = at(ctx, quoted->l3, sizeof(*ip));

		if (!ip)
			return false;
		__builtin_memcpy(&ip->saddr, &to->address, sizeof(to->address));
	}
	port = at(ctx, quoted->l4, sizeof(*port));
	icmp = at(ctx, p->l4, sizeof(*icmp));
	if (!port || !icmp)
		return false;
	*port = to->port;
	/* In IPv4 the quoted header's checksum makes up for its address. In IPv6 the address counts there, and in the
	 * pseudo-header of the error. */
	icmp->check = csum_update(icmp->check, port_delta + (p->family == AF_INET ? 0 : 2 * address_delta));
	return true;
}

/*
 * Remembers how to translate the reply. Call before translate(), while the packet still carries the VIP.
 *
 * A pod cannot tell two connections of one client port apart that reach it by two VIPs, so the latest wins. An equal entry
 * is only looked at: that keeps it recently used, and a rewrite costs ten times as much.
 *
 * A connection is on probation until the client has acknowledged what the backend said to it, which is nothing that a
 * sender of forged SYNs ever sees. Datagrams have a table of their own.
 */
__attribute__((noinline)) int lb_remember_reply(struct xdp_md *ctx, const struct packet *p, const struct target *to)
{
	struct lb_reply_key key = {};
	struct lb_reply now = {}, *known;
	struct tcphdr *tcp;

	if (!p || !to)
		return false;
	key.backend = to->address;
	key.client = p->source;
	key.backend_port_be = to->port;
	key.client_port_be = p->ports.source;
	key.protocol = p->protocol;
	now.vip = p->dest;
	now.port_be = p->ports.dest;
	if (p->protocol == IPPROTO_UDP) {
		known = bpf_map_lookup_elem(&lb_replies_udp, &key);
		if (known && same_address(&known->vip, &now.vip) && known->port_be == now.port_be)
			return true;
		return !bpf_map_update_elem(&lb_replies_udp, &key, &now, BPF_ANY);
	}
	known = bpf_map_lookup_elem(&lb_replies, &key);
	if (known) {
		if (same_address(&known->vip, &now.vip) && known->port_be == now.port_be)
			return true;
		bpf_map_delete_elem(&lb_replies, &key); /* the port was used again */
	}
	known = bpf_map_lookup_elem(&lb_replies_new, &key);
	if (!known || !same_address(&known->vip, &now.vip) || known->port_be != now.port_be)
		return !bpf_map_update_elem(&lb_replies_new, &key, &now, BPF_ANY);
	if (p->protocol != IPPROTO_TCP || (p->tcp & (TCP_SYN | TCP_ACK)) != TCP_ACK || !known->answered)
		return true;
	tcp = at(ctx, p->l4, sizeof(*tcp));
	if (!tcp || tcp->ack_seq != known->expect_be)
		return true;
	if (bpf_map_update_elem(&lb_replies, &key, &now, BPF_ANY))
		return false;
	bpf_map_delete_elem(&lb_replies_new, &key);
	return true;
}

#endif
