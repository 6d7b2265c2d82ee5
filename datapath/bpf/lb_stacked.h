/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * Devices on top of others: VLAN devices, and bonds over their ports.
 *
 * The program of a card sees frames as they are on the wire, and the program of a bond is run by its ports; routes and
 * addresses are those of the device on top. User space fills both maps (datapath/stacked.py).
 */
#ifndef LB_STACKED_H
#define LB_STACKED_H

#include "lb_frame.h"
#include "lb_maps.h"

static __always_inline bool any_stacked(void)
{
	__u32 first = 0;
	const struct lb_sieve *sieve = bpf_map_lookup_elem(&lb_sieve, &first); /* every packet was there already */

	return !sieve || !sieve->unstacked;
}

/* The device by which the kernel sees the packet: with a tag (other than that of priority alone) a VLAN device, on a port of
 * a bond the bond. 0 if a tag is nobody's: then nothing in it is for this host. */
static __always_inline __u32 device_of(struct xdp_md *ctx, const struct packet *p)
{
	struct lb_vlan_key key = { .ifindex = ingress_device(ctx), .vlan = { p->vlan[0], p->vlan[1] } };
	bool tagged = p->vlan[0] || p->vlan[1];
	const struct lb_vlan *above;

	if (!tagged && !any_stacked())
		return key.ifindex;
	above = bpf_map_lookup_elem(&lb_vlans, &key);
	return above ? above->ifindex : tagged ? 0 : key.ifindex;
}

/*
 * For a frame that another device is to send: a VLAN device takes none from XDP, so the one below gets it, with the tags.
 * Returns the length of the link-layer header; `ifindex` becomes that of the device to redirect to.
 */
static __always_inline __u32 put_tags(struct tags *tags, __u8 family, __u32 *ifindex)
{
	const struct lb_vlan_way *way;
	__u32 key = *ifindex; /* on the stack, as find_vip() says */

	if (!any_stacked())
		return sizeof(struct ether);
	way = bpf_map_lookup_elem(&lb_vlan_ways, &key);
	if (!way)
		return sizeof(struct ether);
	*ifindex = way->ifindex;
	tags->kind = way->kind_be[0];
	tags->vlan[0].tci = way->tci_be[0];
	tags->vlan[1].tci = way->tci_be[1];
	tags->vlan[1].kind = ethertype(family);
	if (!way->kind_be[1]) {
		tags->vlan[0].kind = ethertype(family);
		return sizeof(struct ether) + sizeof(struct vlan);
	}
	tags->vlan[0].kind = way->kind_be[1];
	return sizeof(struct ether) + 2 * sizeof(struct vlan);
}

#endif
