/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The way back: what a local backend answers leaves with the VIP as its source. */
#ifndef LB_REPLY_H
#define LB_REPLY_H

#include "lb_fragment.h"
#include "lb_icmp.h"
#include "lb_maps.h"
#include "lb_packet.h"
#include "lb_sctp.h"

#define SCTP_INIT_ACK 2 /* RFC 9260 section 3.2 */
#define SCTP_ABORT 6

/*
 * The helpers of tc are used for all reads and writes: they reach data that is not in the linear part, and they know what
 * to do with a checksum that the device has yet to complete (CHECKSUM_PARTIAL) or a large packet that it has yet to cut.
 */
static __always_inline bool replace_source(struct __sk_buff *skb, const struct packet *p, const struct lb_address *vip)
{
	if (p->family == AF_INET6)
		return !bpf_skb_store_bytes(skb, p->l3 + offsetof(struct ipv6hdr, saddr), vip, sizeof(*vip), 0);
	return !bpf_l3_csum_replace(skb, p->l3 + offsetof(struct iphdr, check), p->source.word_be[3], vip->word_be[3], 4) &&
	       !bpf_skb_store_bytes(skb, p->l3 + offsetof(struct iphdr, saddr), &vip->word_be[3], 4, 0);
}

/* For the helpers: a sum of differences in 32 bits. */
static __always_inline __u32 csum_partial(__u64 delta)
{
	delta = (delta & 0xffffffff) + (delta >> 32);
	return (delta & 0xffffffff) + (delta >> 32);
}

static __always_inline bool replace_ports(struct __sk_buff *skb, const struct packet *p, const struct lb_reply *reply)
{
	bool udp = p->protocol == IPPROTO_UDP;
	__u64 mangled = udp ? BPF_F_MARK_MANGLED_0 : 0; /* RFC 768: zero means none */
	__u32 check = p->l4 + (udp ? offsetof(struct udphdr, check) : offsetof(struct tcphdr, check));
	__u32 delta = csum_partial(csum_delta_address(&p->source, &reply->vip));

	if (p->protocol == IPPROTO_SCTP) {
		__u32 behind = p->l3 + p->length - p->l4 - sizeof(struct ports), sum;

		if (bpf_skb_load_bytes(skb, p->l4 + offsetof(struct sctp, check), &sum, sizeof(sum)))
			return false;
		/* Zero: left to the device (CHECKSUM_PARTIAL), which sums the field too. */
		if (sum && p->ports.source != reply->port_be) {
			sum = lb_sctp_check(sum, p->ports.source ^ reply->port_be, behind);
			if (bpf_skb_store_bytes(skb, p->l4 + offsetof(struct sctp, check), &sum, sizeof(sum), 0))
				return false;
		}
	} else if (bpf_l4_csum_replace(skb, check, 0, delta, BPF_F_PSEUDO_HDR | mangled) ||
		   bpf_l4_csum_replace(skb, check, p->ports.source, reply->port_be, mangled | 2)) {
		return false;
	}
	return !bpf_skb_store_bytes(skb, p->l4 + offsetof(struct ports, source), &reply->port_be, 2, 0);
}

static __always_inline void reply_key(struct lb_reply_key *key, const struct lb_address *backend, __be16 backend_port,
				      const struct lb_address *client, __be16 client_port, __u8 protocol)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->backend = *backend;
	key->client = *client;
	key->backend_port_be = backend_port;
	key->client_port_be = client_port;
	key->protocol = protocol;
}

/* On probation: what the client has to acknowledge (lb_nat.h). An SCTP backend says nothing but INIT-ACK before the client
 * has shown its cookie (RFC 9260 section 5.1), so it needs no more than that. */
static __always_inline void probation(struct __sk_buff *skb, const struct packet *p, const struct lb_reply_key *key,
				      struct lb_reply *entry)
{
	struct tcphdr tcp;
	struct lb_reply now;
	__u8 chunk;

	if (p->protocol == IPPROTO_TCP) {
		__u32 seq, data;

		if (bpf_skb_load_bytes(skb, p->l4, &tcp, sizeof(tcp)))
			return;
		data = p->l3 + p->length - p->l4 - tcp.doff * 4;
		seq = bpf_ntohl(tcp.seq) + data + tcp.syn + tcp.fin;
		entry->expect_be = bpf_htonl(seq);
		entry->answered = 1;
		return;
	}
	if (bpf_skb_load_bytes(skb, p->l4 + sizeof(struct sctp), &chunk, sizeof(chunk)) || chunk == SCTP_INIT_ACK ||
	    chunk == SCTP_ABORT)
		return;
	now = *entry;
	if (!bpf_map_update_elem(&lb_replies, key, &now, BPF_ANY))
		bpf_map_delete_elem(&lb_replies_new, key);
}

static __always_inline struct lb_reply *find_reply(const struct lb_reply_key *key, bool *on_probation)
{
	struct lb_reply *found;

	if (key->protocol == IPPROTO_UDP)
		return bpf_map_lookup_elem(&lb_replies_udp, key);
	found = bpf_map_lookup_elem(&lb_replies, key);
	if (found)
		return found;
	*on_probation = true;
	return bpf_map_lookup_elem(&lb_replies_new, key);
}

/*
 * An ICMP error about a request that we translated, by the backend or by somebody between it and us: what it quotes is
 * turned back into what the client sent (RFC 5508 section 4.2). If it is the backend's own, it comes from the VIP.
 */
__attribute__((noinline)) int lb_reply_about(struct __sk_buff *skb, const struct packet *p)
{
	struct packet quoted = {};
	struct lb_reply_key key;
	struct lb_reply *found, reply;
	bool on_probation = false, own;
	__u64 delta;

	if (!p || !is_icmp_error(p))
		return LB_not_ours;
	quoted.family = p->family;
	quoted.l3 = p->l4 + sizeof(struct icmp);
	quoted.flags = PACKET_QUOTED;
	if (tc_lb_parse(skb, &quoted) != PARSE_FINE || quoted.flags & PACKET_LATER_FRAGMENT || is_icmp(&quoted) ||
	    !same_address(&quoted.source, &p->dest))
		return LB_not_ours;
	reply_key(&key, &quoted.dest, quoted.ports.dest, &quoted.source, quoted.ports.source, quoted.protocol);
	found = find_reply(&key, &on_probation);
	if (!found)
		return LB_not_ours;
	reply = *found;
	own = same_address(&p->source, &quoted.dest);
	/* See translate_error(). */
	delta = csum_delta16(quoted.ports.dest, reply.port_be);
	if (p->family == AF_INET6)
		delta += csum_delta_address(&quoted.dest, &reply.vip) * (own ? 2 : 1);
	if (bpf_l4_csum_replace(skb, p->l4 + offsetof(struct icmp, check), 0, csum_partial(delta), 0) ||
	    bpf_skb_store_bytes(skb, quoted.l4 + offsetof(struct ports, dest), &reply.port_be, 2, 0))
		return LB_reply_error;
	if (p->family == AF_INET) {
		if (bpf_l3_csum_replace(skb, quoted.l3 + offsetof(struct iphdr, check), quoted.dest.word_be[3],
					reply.vip.word_be[3], 4) ||
		    bpf_skb_store_bytes(skb, quoted.l3 + offsetof(struct iphdr, daddr), &reply.vip.word_be[3], 4, 0))
			return LB_reply_error;
	} else if (bpf_skb_store_bytes(skb, quoted.l3 + offsetof(struct ipv6hdr, daddr), &reply.vip, sizeof(reply.vip), 0)) {
		return LB_reply_error;
	}
	if (own && !replace_source(skb, p, &reply.vip))
		return LB_reply_error;
	return LB_reply;
}

static __always_inline enum lb_reason egress(struct __sk_buff *skb)
{
	struct packet p = {};
	struct lb_reply_key key;
	struct lb_reply *found, reply;
	bool on_probation = false;

	p.flags = PACKET_OWN;
	if (!tc_find_network(skb, &p) || tc_lb_parse(skb, &p) != PARSE_FINE)
		return LB_not_ours;
	if (is_icmp(&p))
		return lb_reply_about(skb, &p);
	if (p.flags & PACKET_LATER_FRAGMENT && !lb_recall_fragment(&p))
		return LB_not_ours; /* nothing to know it by */
	reply_key(&key, &p.source, p.ports.source, &p.dest, p.ports.dest, p.protocol);
	found = find_reply(&key, &on_probation);
	if (!found)
		return LB_not_ours;
	if (on_probation && !(p.flags & PACKET_LATER_FRAGMENT))
		probation(skb, &p, &key, found);
	reply = *found;
	if (p.flags & PACKET_FIRST_FRAGMENT && !lb_remember_fragment(&p))
		return LB_no_fragment_entry;
	if (!(p.flags & PACKET_LATER_FRAGMENT) && !replace_ports(skb, &p, &reply))
		return LB_reply_error;
	return replace_source(skb, &p, &reply.vip) ? LB_reply : LB_reply_error;
}

#endif
