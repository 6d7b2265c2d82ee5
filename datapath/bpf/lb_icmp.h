/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What a VIP answers by itself: echo requests, and packets that cannot be taken further (RFC 792, 1191, 4443, 8201). */
#ifndef LB_ICMP_H
#define LB_ICMP_H

#include "lb_frame.h"
#include "lb_maps.h"
#include "lb_packet.h"

#define ANSWER_TTL 64
/* How much of the packet is quoted. RFC 1812 section 4.3.2.3 allows 576 with all headers, RFC 4443 1280; bpf_csum_diff sums
 * up to 512 bytes. Whatever does not fit is longer. */
#define QUOTE 512

static __always_inline bool is_icmp(const struct packet *p)
{
	return p->protocol == (p->family == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6);
}

/* RFC 792 and 1122; for IPv6 all types below 128 (RFC 4443 section 2.1). Redirects are for hosts on the link. */
static __always_inline bool is_icmp_error(const struct packet *p)
{
	if (p->family == AF_INET)
		return p->icmp_type == ICMP4_UNREACHABLE || p->icmp_type == ICMP4_TIME_EXCEEDED ||
		       p->icmp_type == ICMP4_PARAMETER_PROBLEM;
	return p->icmp_type <= ICMP6_MAX_ERROR;
}

static __always_inline bool is_echo_request(const struct packet *p)
{
	return p->icmp_code == 0 && p->icmp_type == (p->family == AF_INET ? ICMP4_ECHO : ICMP6_ECHO);
}

/* RFC 1122 section 3.2.2: nothing is sent to an address that is no single host's. */
static __always_inline bool can_be_answered(const struct packet *p)
{
	__u32 last = bpf_ntohl(p->source.word_be[3]), first = bpf_ntohl(p->source.word_be[0]);

	if (same_address(&p->source, &p->dest))
		return false;
	if (p->family == AF_INET)
		return last >> 28 < 0xe && last >> 24 && last >> 24 != 127;
	return first >> 24 != 0xff && (first | p->source.word_be[1] | p->source.word_be[2]);
}

/* False for a frame that a bridge flooded: the FIB tells our address if the answer leaves by the device that it came by. */
static __always_inline bool is_for_us(struct xdp_md *ctx, const struct packet *p)
{
	struct bpf_fib_lookup fib = { .ifindex = p->device };
	struct ether *eth = at(ctx, 0, sizeof(*eth));
	struct lb_mac ours;

	if (!eth || eth->dest.words[0] & bpf_htons(0x100))
		return false;
	if (p->family == AF_INET) {
		fib.family = AF_INET;
		fib.ipv4_src = p->dest.word_be[3];
		fib.ipv4_dst = p->source.word_be[3];
	} else {
		fib.family = AF_INET6;
		__builtin_memcpy(fib.ipv6_src, &p->dest, sizeof(fib.ipv6_src));
		__builtin_memcpy(fib.ipv6_dst, &p->source, sizeof(fib.ipv6_dst));
	}
	if (bpf_fib_lookup(ctx, &fib, sizeof(fib), 0) != BPF_FIB_LKUP_RET_SUCCESS || fib.ifindex != p->device)
		return true;
	__builtin_memcpy(&ours, fib.smac, sizeof(ours));
	return same_mac(&eth->dest, &ours);
}

/* Turns an echo request into its answer, and sends it back to where it came from. */
__attribute__((noinline)) int lb_echo(struct xdp_md *ctx, const struct packet *p)
{
	struct icmp *icmp;
	struct ether *eth;

	if (!p || !can_be_answered(p))
		return LB_icmp;
	if (!is_for_us(ctx, p))
		return LB_other_host;
	icmp = at(ctx, p->l4, sizeof(*icmp));
	if (!icmp)
		return LB_truncated;
	if (p->family == AF_INET) {
		struct iphdr *ip = at(ctx, p->l3, sizeof(*ip));

		if (!ip)
			return LB_truncated;
		ip->saddr = p->dest.word_be[3];
		ip->daddr = p->source.word_be[3];
		ip->check = csum_update(ip->check, csum_delta16(bpf_htons(p->ttl << 8), bpf_htons(ANSWER_TTL << 8)));
		ip->ttl = ANSWER_TTL;
		icmp = at(ctx, p->l4, sizeof(*icmp));
		if (!icmp)
			return LB_truncated;
		icmp->type = ICMP4_ECHO_REPLY;
		icmp->check = csum_update(icmp->check, csum_delta16(bpf_htons(ICMP4_ECHO << 8), 0));
	} else {
		struct ipv6hdr *ip = at(ctx, p->l3, sizeof(*ip));

		if (!ip)
			return LB_truncated;
		__builtin_memcpy(&ip->saddr, &p->dest, sizeof(ip->saddr));
		__builtin_memcpy(&ip->daddr, &p->source, sizeof(ip->daddr));
		ip->hop_limit = ANSWER_TTL;
		icmp = at(ctx, p->l4, sizeof(*icmp));
		if (!icmp)
			return LB_truncated;
		icmp->type = ICMP6_ECHO_REPLY;
		icmp->check = csum_update(icmp->check, csum_delta16(bpf_htons(ICMP6_ECHO << 8),
									  bpf_htons(ICMP6_ECHO_REPLY << 8)));
	}
	eth = at(ctx, 0, sizeof(*eth));
	if (!eth)
		return LB_truncated;
	swap_macs(&eth->dest, &eth->source);
	return LB_echo;
}

static __always_inline bool push_answer_ipv4(struct xdp_md *ctx, const struct packet *p, const struct icmp *icmp, __u32 quote)
{
	struct {
		struct iphdr ip;
		struct icmp icmp;
	} *to = at(ctx, p->l3, sizeof(*to)), answer = {
		.ip = { .version = 4,
			.ihl = 5,
			.tot_len = bpf_htons(sizeof(answer) + quote),
			.frag_off = bpf_htons(IP_DONT_FRAGMENT),
			.ttl = ANSWER_TTL,
			.protocol = IPPROTO_ICMP,
			.saddr = p->dest.word_be[3],
			.daddr = p->source.word_be[3] },
		.icmp = *icmp,
	};
	__be32 *quoted = at(ctx, p->l3 + sizeof(*to), quote);
	__u64 sum = bpf_htons(icmp->type << 8 | icmp->code) + (__u64)icmp->mtu6;

	if (!to || !quoted)
		return false;
	sum += (__u32)bpf_csum_diff(NULL, 0, quoted, quote, 0);
	answer.ip.check = header_csum(&answer.ip);
	answer.icmp.check = ~csum_fold(sum);
	to = at(ctx, p->l3, sizeof(*to));
	if (!to)
		return false;
	*to = answer;
	return true;
}

static __always_inline bool push_answer_ipv6(struct xdp_md *ctx, const struct packet *p, const struct icmp *icmp, __u32 quote)
{
	struct {
		struct ipv6hdr ip;
		struct icmp icmp;
	} *to, answer = {
		.ip = { .version = 6,
			.payload_len = bpf_htons(sizeof(answer.icmp) + quote),
			.nexthdr = IPPROTO_ICMPV6,
			.hop_limit = ANSWER_TTL },
		.icmp = *icmp,
	};
	__be32 *quoted = at(ctx, p->l3 + sizeof(answer), quote);
	__u64 sum;

	if (!quoted)
		return false;
	sum = (__u32)bpf_csum_diff(NULL, 0, quoted, quote, 0);
	sum += bpf_htons(icmp->type << 8 | icmp->code) + (__u64)icmp->mtu6;
	sum += (__u64)bpf_htons(sizeof(answer.icmp) + quote) + bpf_htons(IPPROTO_ICMPV6);
#pragma unroll
	for (int i = 0; i < 4; i++)
		sum += (__u64)p->source.word_be[i] + p->dest.word_be[i];
	answer.icmp.check = ~csum_fold(sum);
	__builtin_memcpy(&answer.ip.saddr, &p->dest, sizeof(answer.ip.saddr));
	__builtin_memcpy(&answer.ip.daddr, &p->source, sizeof(answer.ip.daddr));
	to = at(ctx, p->l3, sizeof(*to));
	if (!to)
		return false;
	*to = answer;
	return true;
}

/*
 * Makes of a packet the ICMP error about it, on the VIP's behalf, with the first `quote` bytes of the packet. 0, or the reason
 * why there is none.
 */
static __always_inline int answer_with(struct xdp_md *ctx, const struct packet *p, const struct icmp *icmp, __u32 quote)
{
	struct link_header link = {};
	int longer, head;

	longer = (int)bpf_xdp_get_buff_len(ctx) - (int)(p->l3 + quote);
	head = sizeof(struct icmp) + (p->family == AF_INET ? sizeof(struct iphdr) : sizeof(struct ipv6hdr));
	if (longer < 0 || !take_link_header(ctx, p, &link) || bpf_xdp_adjust_tail(ctx, -longer))
		return LB_truncated;
	if (bpf_xdp_adjust_head(ctx, -head))
		return LB_no_headroom;
	swap_macs(&link.dest, &link.source);
	if (!put_link_header(ctx, p, &link, p->l3) ||
	    !(p->family == AF_INET ? push_answer_ipv4(ctx, p, icmp, quote) : push_answer_ipv6(ctx, p, icmp, quote)))
		return LB_truncated;
	return 0;
}

/*
 * The packet would not fit with the outer header: its sender is told what would. Also without DF, where a router would have
 * cut it: XDP cannot, and senders take the answer all the same. Not about a later fragment (RFC 1122 section 3.2.2) and not
 * about an ICMP error.
 */
__attribute__((noinline)) int lb_mtu_answer(struct xdp_md *ctx, const struct packet *p, __u32 mtu)
{
	struct icmp answer = {};
	int why;

	if (!p || p->flags & PACKET_LATER_FRAGMENT || is_icmp(p) || !can_be_answered(p))
		return LB_too_big;
	if (p->family == AF_INET) {
		answer.type = ICMP4_UNREACHABLE;
		answer.code = ICMP4_UNREACHABLE_TOO_BIG;
		answer.mtu4 = bpf_htons(mtu);
	} else {
		answer.type = ICMP6_TOO_BIG;
		answer.mtu6 = bpf_htonl(mtu);
	}
	why = answer_with(ctx, p, &answer, QUOTE);
	return !why ? LB_mtu_answer : why == LB_truncated ? LB_too_big : why;
}

#endif
