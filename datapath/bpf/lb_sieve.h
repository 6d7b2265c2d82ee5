/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Most packets of a node are for no VIP. They leave here, after one look. */
#ifndef LB_SIEVE_H
#define LB_SIEVE_H

#include "lb_frontend.h"
#include "lb_geneve.h"
#include "lb_maps.h"
#include "lb_packet.h"

/* `high` and `low` are the halves of the address, in host order. datapath/sieve.py says the same. */
static __always_inline bool sieve_holds(const struct lb_sieve *sieve, __u64 high, __u64 low)
{
	__u32 bit = ((low + high * LB_SIEVE_FOLD) * LB_SIEVE_FACTOR) >> (64 - LB_SIEVE_BITS);

	return sieve->words[bit / 64] >> (bit % 64) & 1;
}

static __always_inline bool is_snat_port(const struct lb_sieve *sieve, __be16 port)
{
	return bpf_ntohs(port) >= sieve->snat_first && bpf_ntohs(port) <= sieve->snat_last;
}

/* No options stand behind the header, and no data of a later fragment. */
static __always_inline bool transport_follows(const struct iphdr *ip)
{
	return ip->ihl == 5 && !(ip->frag_off & bpf_htons(IP_OFFSET));
}

/* A transport header of `protocol` at `ports`, if nothing else is there: may it answer to one of our ports? */
static __always_inline bool answers_snat(const struct lb_sieve *sieve, __u8 protocol, const struct ports *ports, const void *end)
{
	if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP && protocol != IPPROTO_SCTP)
		return true;
	return (const void *)(ports + 1) > end || is_snat_port(sieve, ports->dest);
}

/* A transport header at `udp`, if nothing else is there: may it be Geneve of another node's? An overlay may use the same port
 * for all that its Pods say to each other, so the port alone is not enough to look closely. */
static __always_inline bool may_be_geneve(__u8 protocol, const void *udp, const void *end)
{
	const struct geneve *geneve = udp;

	return protocol == IPPROTO_UDP && (const void *)(geneve + 1) <= end && geneve_is_ours(geneve);
}

/*
 * True for a packet that is certainly not ours: its destination is no VIP, it is no tunnel of another node's, no aggregate
 * is guarded, and no backend answers with it to a port of ours. False says nothing: a tagged frame, one too short to say, or
 * one that has to be looked at closely.
 * `line`: what was foreseen (lb_frontend.h) of a packet for a VIP; left alone if nothing was.
 */
static __always_inline bool passes_by(struct xdp_md *ctx, __u32 *line)
{
	const struct ether *eth = packet_data(ctx);
	const void *end = packet_data_end(ctx);
	const struct lb_sieve *sieve;
	__u32 first = 0;

	if ((const void *)(eth + 1) > end)
		return false;
	sieve = bpf_map_lookup_elem(&lb_sieve, &first);
	if (!sieve || !sieve->filled)
		return false;
	if (eth->kind == bpf_htons(ETH_P_IP)) {
		const struct iphdr *ip = (const void *)(eth + 1);

		if ((const void *)(ip + 1) > end || ip->protocol == IPPROTO_IPIP)
			return false;
		if (sieve_holds(sieve, 0, 0xffff00000000ULL | bpf_ntohl(ip->daddr))) {
			const __be32 vip[4] = { 0, 0, bpf_htonl(0xffff), ip->daddr };

			if (transport_follows(ip))
				*line = foresee(vip, (const void *)(ip + 1), ip->protocol, end);
			return false;
		}
		if (sieve->guards || may_be_geneve(ip->protocol, (const void *)(ip + 1), end))
			return false;
		return !sieve->snat_first ||
		       (transport_follows(ip) && !answers_snat(sieve, ip->protocol, (const void *)(ip + 1), end));
	}
	if (eth->kind == bpf_htons(ETH_P_IPV6)) {
		const struct ipv6hdr *ip = (const void *)(eth + 1);
		const __be32 *dest;

		if ((const void *)(ip + 1) > end || ip->nexthdr == IPPROTO_IPV6)
			return false;
		dest = ip->daddr.in6_u.u6_addr32;
		if (sieve_holds(sieve, (__u64)bpf_ntohl(dest[0]) << 32 | bpf_ntohl(dest[1]),
				(__u64)bpf_ntohl(dest[2]) << 32 | bpf_ntohl(dest[3]))) {
			if (ip->nexthdr == IPPROTO_TCP || ip->nexthdr == IPPROTO_UDP)
				*line = foresee(dest, (const void *)(ip + 1), ip->nexthdr, end);
			return false;
		}
		if (sieve->guards || may_be_geneve(ip->nexthdr, (const void *)(ip + 1), end))
			return false;
		return !sieve->snat_first || !answers_snat(sieve, ip->nexthdr, (const void *)(ip + 1), end);
	}
	return false;
}

#endif
