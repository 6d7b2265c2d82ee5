/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The link-layer header, kept aside while the frame grows or shrinks under it. */
#ifndef LB_FRAME_H
#define LB_FRAME_H

#include "lb_packet.h"

/* What is between the addresses and the IP header: outer tag first. `kind` says what follows the addresses. */
struct tags {
	__be16 kind;
	struct vlan vlan[2];
};

struct link_header {
	struct lb_mac dest;
	struct lb_mac source;
	struct tags tags;
};

/* Reads the tags, if there are any. */
static __always_inline bool take_tags(struct xdp_md *ctx, const struct packet *p, struct tags *tags)
{
	/* Two are read also where there is one: then the second is the beginning of the IP header, and unused. */
	struct tagged {
		struct lb_mac macs[2];
		struct tags tags;
	} *frame;

	if (p->l3 == sizeof(struct ether))
		return true;
	frame = at(ctx, 0, sizeof(*frame));
	if (!frame)
		return false;
	*tags = frame->tags;
	return true;
}

/* Reads all of it. */
static __always_inline bool take_link_header(struct xdp_md *ctx, const struct packet *p, struct link_header *link)
{
	struct ether *eth = at(ctx, 0, sizeof(*eth));

	if (!eth)
		return false;
	link->dest = eth->dest;
	link->source = eth->source;
	return take_tags(ctx, p, &link->tags);
}

/* Writes the beginning of the frame: as many of the tags as make it `l3` bytes long. */
static __always_inline bool put_link(struct xdp_md *ctx, const struct packet *p, const struct lb_mac *dest,
				     const struct lb_mac *source, const struct tags *tags, __u32 l3)
{
	struct ether *eth = at(ctx, 0, sizeof(*eth));
	struct vlan *tag;

	if (!eth)
		return false;
	eth->dest = *dest;
	eth->source = *source;
	if (l3 == sizeof(*eth)) {
		eth->kind = ethertype(p->family);
		return true;
	}
	eth->kind = tags->kind;
	tag = at(ctx, sizeof(*eth), sizeof(*tag));
	if (!tag)
		return false;
	*tag = tags->vlan[0];
	if (l3 == sizeof(*eth) + sizeof(*tag))
		return true;
	tag = at(ctx, sizeof(*eth) + sizeof(*tag), sizeof(*tag));
	if (!tag)
		return false;
	*tag = tags->vlan[1];
	return true;
}

static __always_inline bool put_link_header(struct xdp_md *ctx, const struct packet *p, const struct link_header *link,
					    __u32 l3)
{
	return put_link(ctx, p, &link->dest, &link->source, &link->tags, l3);
}

static __always_inline void swap_macs(struct lb_mac *dest, struct lb_mac *source)
{
	struct lb_mac was = *dest;

	*dest = *source;
	*source = was;
}

#endif
