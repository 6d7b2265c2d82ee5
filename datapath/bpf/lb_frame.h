/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The link-layer header, kept aside while the frame grows or shrinks under it. */
#ifndef LB_FRAME_H
#define LB_FRAME_H

#include "lb_packet.h"

struct link_header {
	struct ethhdr eth;
	struct vlan tags[2];
};

/* Reads it; as many tags as there are. */
static __always_inline bool take_link_header(struct xdp_md *ctx, const struct packet *p, struct link_header *link)
{
	struct ethhdr *eth = at(ctx, 0, sizeof(*eth));

	if (!eth)
		return false;
	link->eth = *eth;
	if (p->l3 > sizeof(*eth)) {
		/* Two are read also where there is one: then the second is the beginning of the IP header, and unused. */
		struct vlan *tags = at(ctx, sizeof(*eth), sizeof(link->tags));

		if (!tags)
			return false;
		link->tags[0] = tags[0];
		link->tags[1] = tags[1];
	}
	return true;
}

/* Writes it to the beginning of the frame: with its tags if it is as long as it was (`l3`), else without. */
static __always_inline bool put_link_header(struct xdp_md *ctx, const struct packet *p, const struct link_header *link,
					    __u32 l3)
{
	struct ethhdr *eth = at(ctx, 0, sizeof(*eth));
	struct vlan *tag;

	if (!eth)
		return false;
	*eth = link->eth;
	if (l3 == sizeof(*eth)) {
		eth->h_proto = p->family == AF_INET ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
		return true;
	}
	tag = at(ctx, sizeof(*eth), sizeof(*tag));
	if (!tag)
		return false;
	*tag = link->tags[0];
	if (l3 == sizeof(*eth) + sizeof(*tag))
		return true;
	tag = at(ctx, sizeof(*eth) + sizeof(*tag), sizeof(*tag));
	if (!tag)
		return false;
	*tag = link->tags[1];
	return true;
}

static __always_inline void swap_macs(struct ethhdr *eth)
{
	__u8 dest[ETH_ALEN];

	__builtin_memcpy(dest, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, dest, ETH_ALEN);
}

#endif
