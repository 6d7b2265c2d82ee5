/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * A frontend that nobody serves and that says so: clients fail at once instead of waiting for a timeout. TCP gets a reset
 * (RFC 9293 section 3.10.7.1), all else ICMP "port unreachable" (RFC 792, RFC 4443 section 3.1), both from the VIP.
 */
#ifndef LB_REJECT_H
#define LB_REJECT_H

#include "lb_frame.h"
#include "lb_icmp.h"
#include "lb_packet.h"

/* What an answer quotes: the IP header and the ports (RFC 792: 64 bits), which senders need to find the socket. */
#define QUOTE_PORTS 8

/* What does not acknowledge anything is acknowledged as a whole; SYN and FIN count as one byte each. */
static __always_inline void reset_of(const struct packet *p, const struct tcphdr *from, struct tcphdr *reset)
{
	reset->source = p->ports.dest;
	reset->dest = p->ports.source;
	reset->doff = sizeof(*reset) / 4;
	reset->rst = 1;
	if (from->ack) {
		reset->seq = from->ack_seq;
		return;
	}
	reset->ack = 1;
	reset->ack_seq = bpf_htonl(bpf_ntohl(from->seq) + p->length - (p->l4 - p->l3) - from->doff * 4 + from->syn + from->fin);
}

static __always_inline __u64 sum_tcp(const struct packet *p, struct tcphdr *reset)
{
	__u64 sum = (__u32)bpf_csum_diff(NULL, 0, (__be32 *)reset, sizeof(*reset), 0);

	sum += (__u64)bpf_htons(sizeof(*reset)) + bpf_htons(IPPROTO_TCP);
	/* An IPv4 address is mapped: the rest of it sums to the same for both. */
	if (p->family == AF_INET)
		return sum + p->source.word_be[3] + p->dest.word_be[3];
#pragma unroll
	for (int i = 0; i < 4; i++)
		sum += (__u64)p->source.word_be[i] + p->dest.word_be[i];
	return sum;
}

static __always_inline bool put_reset(struct xdp_md *ctx, const struct packet *p, const struct tcphdr *reset)
{
	if (p->family == AF_INET) {
		struct {
			struct iphdr ip;
			struct tcphdr tcp;
		} *to = at(ctx, p->l3, sizeof(*to)), answer = {
			.ip = { .version = 4,
				.ihl = 5,
				.tot_len = bpf_htons(sizeof(answer)),
				.frag_off = bpf_htons(IP_DONT_FRAGMENT),
				.ttl = ANSWER_TTL,
				.protocol = IPPROTO_TCP,
				.saddr = p->dest.word_be[3],
				.daddr = p->source.word_be[3] },
			.tcp = *reset,
		};

		if (!to)
			return false;
		answer.ip.check = header_csum(&answer.ip);
		*to = answer;
	} else {
		struct {
			struct ipv6hdr ip;
			struct tcphdr tcp;
		} *to = at(ctx, p->l3, sizeof(*to)), answer = {
			.ip = { .version = 6,
				.payload_len = bpf_htons(sizeof(*reset)),
				.nexthdr = IPPROTO_TCP,
				.hop_limit = ANSWER_TTL },
			.tcp = *reset,
		};

		if (!to)
			return false;
		__builtin_memcpy(&answer.ip.saddr, &p->dest, sizeof(answer.ip.saddr));
		__builtin_memcpy(&answer.ip.daddr, &p->source, sizeof(answer.ip.daddr));
		*to = answer;
	}
	return true;
}

/* The reset is never longer than what it answers: options, extension headers and data go. */
__attribute__((noinline)) int lb_reset(struct xdp_md *ctx, const struct packet *p)
{
	struct tcphdr *from, reset = {};
	struct ether *eth;
	int longer;

	if (!p || p->tcp & TCP_RST)
		return LB_no_backend;
	from = at(ctx, p->l4, sizeof(*from));
	if (!from)
		return LB_truncated;
	reset_of(p, from, &reset);
	reset.check = ~csum_fold(sum_tcp(p, &reset));
	longer = (int)bpf_xdp_get_buff_len(ctx) - p->l3 -
		 (int)(p->family == AF_INET ? sizeof(struct iphdr) : sizeof(struct ipv6hdr)) - (int)sizeof(reset);
	if (longer < 0 || bpf_xdp_adjust_tail(ctx, -longer) || !put_reset(ctx, p, &reset))
		return LB_truncated;
	eth = at(ctx, 0, sizeof(*eth));
	if (!eth)
		return LB_truncated;
	swap_macs(&eth->dest, &eth->source);
	return LB_rejected;
}

/* Nothing is said about a packet with options or extension headers: what would have to be quoted has no fixed length. */
__attribute__((noinline)) int lb_unreachable(struct xdp_md *ctx, const struct packet *p)
{
	int why;

	if (!p)
		return LB_no_backend;
	if (p->family == AF_INET) {
		const struct icmp answer = { .type = ICMP4_UNREACHABLE, .code = ICMP4_UNREACHABLE_PORT };

		if (p->l4 - p->l3 != sizeof(struct iphdr))
			return LB_no_backend;
		why = answer_with(ctx, p, &answer, sizeof(struct iphdr) + QUOTE_PORTS);
	} else {
		const struct icmp answer = { .type = ICMP6_UNREACHABLE, .code = ICMP6_UNREACHABLE_PORT };

		if (p->l4 - p->l3 != sizeof(struct ipv6hdr))
			return LB_no_backend;
		why = answer_with(ctx, p, &answer, sizeof(struct ipv6hdr) + QUOTE_PORTS);
	}
	return why ? why : LB_rejected;
}

__attribute__((noinline)) int lb_reject(struct xdp_md *ctx, const struct packet *p)
{
	/* RFC 1122 section 3.2.2: not about a later fragment, not to an address that is no single host's. */
	if (!p || p->flags & PACKET_LATER_FRAGMENT || !can_be_answered(p))
		return LB_no_backend;
	if (!is_for_us(ctx, p))
		return LB_other_host;
	return p->protocol == IPPROTO_TCP ? lb_reset(ctx, p) : lb_unreachable(ctx, p);
}

#endif
