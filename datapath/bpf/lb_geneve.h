/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * Geneve (RFC 8926) to the node of a backend, for networks that carry only packets between nodes (overlays):
 *
 *   IP   this node -> the backend's node
 *   UDP  a port that the flow has -> 6081
 *   Geneve, one option: the address of the backend
 *   IP   the packet as the client sent it, one hop older
 *
 * The backend's port needs no telling: the node that has the backend knows which of its ports serves this VIP, as it does for
 * IP in IP (struct lb_decap_key).
 *
 * The port is everybody's; ours is what has our option on our VNI. All other Geneve belongs to somebody else.
 */
#ifndef LB_GENEVE_H
#define LB_GENEVE_H

#include "lb_packet.h"

/* From the UDP header to the data of the option. */
struct geneve {
	struct udphdr udp;
	__u8 length; /* of all options, in units of 4 bytes; above it the version, 0 */
	__u8 flags;
	__be16 kind; /* Ethertype of what is inside: there is no link-layer header */
	__be32 vni;  /* 24 bits, the rest is reserved */
	__be16 option_class;
	__u8 option_type;
	__u8 option_length; /* of its data, in units of 4 bytes */
};

#define GENEVE_CRITICAL 0x40 /* there is a critical option */
/* Without what is reserved, and ignored on receipt (sections 3.4 and 3.5). */
#define GENEVE_FLAGS 0xc0
#define GENEVE_VNI 0xffffff00
#define GENEVE_OPTION_LENGTH 0x1f
#define GENEVE_OPTION_WORDS 1 /* of its header */
/* RFC 6335: ports that nobody serves. The rest of the 16 bits is the flow's. */
#define GENEVE_SOURCE_PORTS 0xc000

static __always_inline __u32 ip_header(__u8 family)
{
	return family == AF_INET ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
}

static __always_inline __u32 address_words(__u8 family)
{
	return family == AF_INET ? 1 : 4;
}

/* Bytes between the outer and the inner IP header. */
static __always_inline __u32 geneve_length(__u8 family)
{
	return sizeof(struct geneve) + 4 * address_words(family);
}

/* Is it of another node of ours? Also if it is damaged. */
static __always_inline bool geneve_is_ours(const struct geneve *geneve)
{
	return geneve->udp.dest == bpf_htons(LB_GENEVE_PORT) && (geneve->vni & bpf_htonl(GENEVE_VNI)) == bpf_htonl(LB_GENEVE_VNI << 8) &&
	       geneve->option_class == bpf_htons(LB_GENEVE_CLASS) && geneve->option_type == LB_GENEVE_TYPE;
}

/* Exactly what push_geneve() writes, but for the port of the sender. A checksum is none that we made, and not looked at. */
static __always_inline bool geneve_is_sound(const struct geneve *geneve, const struct packet *outer)
{
	__u32 words = address_words(outer->family);

	return geneve->length == GENEVE_OPTION_WORDS + words && (geneve->flags & GENEVE_FLAGS) == GENEVE_CRITICAL &&
	       geneve->kind == ethertype(outer->family) && (geneve->option_length & GENEVE_OPTION_LENGTH) == words &&
	       bpf_ntohs(geneve->udp.len) == outer->length - (outer->l4 - outer->l3);
}

/*
 * Without a checksum, in IPv6 too (RFC 6935, RFC 6936): the packet inside has its own, over the VIP and the client's address,
 * and one over all of it is not to be had in XDP. The flow's own port lets routers and devices spread flows (section 3.3).
 */
static __always_inline bool push_geneve(struct xdp_md *ctx, const struct packet *p, const struct lb_address *backend, __u32 l4)
{
	struct geneve *geneve = at(ctx, l4, sizeof(*geneve));
	__u32 words = address_words(p->family);

	if (!geneve)
		return false;
	geneve->udp.source = bpf_htons(GENEVE_SOURCE_PORTS | (p->hash & ~GENEVE_SOURCE_PORTS));
	geneve->udp.dest = bpf_htons(LB_GENEVE_PORT);
	geneve->udp.len = bpf_htons(p->length + geneve_length(p->family));
	geneve->udp.check = 0;
	geneve->length = GENEVE_OPTION_WORDS + words;
	geneve->flags = GENEVE_CRITICAL;
	geneve->kind = ethertype(p->family);
	geneve->vni = bpf_htonl(LB_GENEVE_VNI << 8);
	geneve->option_class = bpf_htons(LB_GENEVE_CLASS);
	geneve->option_type = LB_GENEVE_TYPE;
	geneve->option_length = words;
	if (p->family == AF_INET) {
		__be32 *data = at(ctx, l4 + sizeof(*geneve), sizeof(*data));

		if (!data)
			return false;
		*data = backend->word_be[3];
	} else {
		struct lb_address *data = at(ctx, l4 + sizeof(*geneve), sizeof(*data));

		if (!data)
			return false;
		__builtin_memcpy(data, backend, sizeof(*data));
	}
	return true;
}

/*
 * Looks into Geneve that may be ours. Afterwards `outer` is what it would be for IP in IP straight to the backend: its
 * destination is the backend, and the packet inside begins at outer->l4. LB_decapsulated, or why it is not taken.
 */
__attribute__((noinline)) int lb_open_geneve(struct xdp_md *ctx, struct packet *outer)
{
	const struct geneve *geneve;

	if (!outer || outer->l4 - outer->l3 != ip_header(outer->family))
		return LB_not_ours;
	geneve = at(ctx, outer->l4, sizeof(*geneve));
	if (!geneve || !geneve_is_ours(geneve))
		return LB_not_ours;
	if (!geneve_is_sound(geneve, outer))
		return LB_geneve_damaged;
	if (outer->family == AF_INET) {
		const __be32 *data = at(ctx, outer->l4 + sizeof(*geneve), sizeof(*data));

		if (!data)
			return LB_geneve_damaged;
		map_address(&outer->dest, *data);
	} else {
		const struct lb_address *data = at(ctx, outer->l4 + sizeof(*geneve), sizeof(*data));

		if (!data)
			return LB_geneve_damaged;
		__builtin_memcpy(&outer->dest, data, sizeof(outer->dest));
	}
	outer->l4 += geneve_length(outer->family);
	return LB_decapsulated;
}

#endif
