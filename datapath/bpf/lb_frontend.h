/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * The frontend of a packet. A look into a hash map of the kernel is four calls and a slow hash, and reads three cache lines
 * from all over memory; where user space has left a shortcut it is none, and one read (datapath/shortcuts.py).
 */
#ifndef LB_FRONTEND_H
#define LB_FRONTEND_H

#include "lb_maps.h"
#include "lb_packet.h"

/* datapath/shortcuts.py says the same. */
static __always_inline __u32 shortcut_place(const __be32 *vip, __be16 port_be, __u8 protocol)
{
	__u64 high = (__u64)vip[0] << 32 | vip[1], low = (__u64)vip[3] << 32 | vip[2];
	__u32 port = port_be | (__u32)protocol << 16;

	return ((low + port + high * LB_SIEVE_FOLD) * LB_SIEVE_FACTOR) >> (64 - LB_SHORTCUT_BITS);
}

/* The number of no line. */
#define UNFORESEEN (1 << LB_SHORTCUT_BITS)

/* The number of the line that the frontend has, if it has one. */
static __always_inline __u32 shortcut_of(const __be32 *vip, __be16 port_be, __u8 protocol)
{
	__u32 first = 0, place = shortcut_place(vip, port_be, protocol);
	const struct lb_places *places = bpf_map_lookup_elem(&lb_places, &first);

	return places ? places->lines[place] : 0;
}

/*
 * The same for a packet, if this is its transport header: asked before it is parsed, so that the number comes meanwhile.
 * UNFORESEEN if it is too short to say. To ask for the line as well takes more time than it saves.
 */
static __always_inline __u32 foresee(const __be32 *vip, const struct ports *ports, __u8 protocol, const void *end)
{
	return (const void *)(ports + 1) > end ? UNFORESEEN : shortcut_of(vip, ports->dest, protocol);
}

/* `number`: what foresee() said of it, or UNFORESEEN. */
static __always_inline bool take_shortcut(const struct lb_frontend_key *key, __u32 number, struct lb_frontend *copy)
{
	const struct lb_shortcut *line;
	const struct {
		__be16 port_be;
		__u16 pad;
		struct lb_address vip;
		struct lb_frontend frontend;
	} *rest;
	__u32 word, at;

	if (number >= UNFORESEEN)
		number = shortcut_of(key->vip.word_be, key->port_be, key->protocol);
	line = bpf_map_lookup_elem(&lb_shortcuts, &number);
	if (!line)
		return false;
	word = *(volatile const __u32 *)&line->word;
	at = word;
	/* In assembler, because the compiler would see that only one offset is left, and use that instead. */
	asm volatile("%0 &= %1" : "+r"(at) : "i"(LB_SHORTCUT_AT));
	if (!at)
		return false;
	rest = (const void *)line + at;
	if (!same_address(&rest->vip, &key->vip) || rest->port_be != key->port_be || word >> 24 != key->protocol)
		return false;
	if (word & LB_FRONTEND_HERE << 16) {
		/* The number is itself, but known no sooner than `at`: the rest is not read before that either. */
		*copy = (struct lb_frontend){
			.block = number + at - LB_SHORTCUT_AT,
			.serving = word >> 8 & 0xff,
			.members = word >> 8 & 0xff,
			.flags = word >> 16,
		};
	} else {
		*copy = rest->frontend;
	}
	return true;
}

static __always_inline bool find_frontend(const struct lb_address *vip, __be16 port, __u8 protocol, __u32 number,
					  struct lb_frontend *copy)
{
	struct lb_frontend_key key = { .vip = *vip, .port_be = port, .protocol = protocol };
	const struct lb_frontend *found;

	if (take_shortcut(&key, number, copy))
		return true;
	found = bpf_map_lookup_elem(&lb_frontends, &key);
	if (!found)
		return false;
	*copy = *found;
	return true;
}

#endif
