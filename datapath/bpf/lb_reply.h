/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The way back: what a local backend answers leaves with the VIP as its source. */
#ifndef LB_REPLY_H
#define LB_REPLY_H

#include "lb_maps.h"
#include "lb_parse.h"

#define L3 ETH_HLEN

/*
 * The helpers of tc are used for all reads and writes: they reach data that is not in the linear part, and they know what
 * to do with a checksum that the device has yet to complete (CHECKSUM_PARTIAL) or a large packet that it has yet to cut.
 */
static __always_inline enum lb_reason rewrite_source(struct __sk_buff *skb, const struct iphdr *ip, const struct ports *ports,
						     const struct lb_reply *reply)
{
	bool udp = ip->protocol == IPPROTO_UDP;
	__u64 mangled = udp ? BPF_F_MARK_MANGLED_0 : 0; /* RFC 768: zero means none */
	__u32 l4 = L3 + ip->ihl * 4;
	__u32 check = l4 + (udp ? offsetof(struct udphdr, check) : offsetof(struct tcphdr, check));

	if (bpf_l4_csum_replace(skb, check, ip->saddr, reply->vip_be, BPF_F_PSEUDO_HDR | mangled | 4) ||
	    bpf_l4_csum_replace(skb, check, ports->source, reply->port_be, mangled | 2) ||
	    bpf_skb_store_bytes(skb, l4 + offsetof(struct ports, source), &reply->port_be, 2, 0) ||
	    bpf_l3_csum_replace(skb, L3 + offsetof(struct iphdr, check), ip->saddr, reply->vip_be, 4) ||
	    bpf_skb_store_bytes(skb, L3 + offsetof(struct iphdr, saddr), &reply->vip_be, 4, 0))
		return LB_reply_error;
	return LB_reply;
}

static __always_inline enum lb_reason egress(struct __sk_buff *skb)
{
	struct lb_reply_key key = {};
	struct lb_reply *found, reply;
	struct ports ports;
	struct iphdr ip;

	if (skb->protocol != bpf_htons(ETH_P_IP) || bpf_skb_load_bytes(skb, L3, &ip, sizeof(ip)))
		return LB_not_ours;
	if (ip.ihl < 5 || (ip.protocol != IPPROTO_TCP && ip.protocol != IPPROTO_UDP))
		return LB_not_ours;
	if (ip.frag_off & bpf_htons(IP_OFFSET))
		return LB_not_ours; /* a later fragment: no ports, nothing to know it by */
	if (bpf_skb_load_bytes(skb, L3 + ip.ihl * 4, &ports, sizeof(ports)))
		return LB_not_ours;
	key.backend_be = ip.saddr;
	key.client_be = ip.daddr;
	key.backend_port_be = ports.source;
	key.client_port_be = ports.dest;
	key.protocol = ip.protocol;
	found = bpf_map_lookup_elem(&lb_replies, &key);
	if (!found)
		return LB_not_ours;
	if (is_fragment(&ip))
		return LB_reply_fragment;
	reply = *found;
	return rewrite_source(skb, &ip, &ports, &reply);
}

#endif
