/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * Short rows that are in no transition, without the row: who owns a slot follows from the members' preferences.
 *
 * A row of 4 KB for each of 10,000 frontends fits no cache, so every packet would wait for memory. What makes the row
 * (datapath/rendezvous.py) are 4 bytes a member, and to work one slot out from these takes a tenth of such a wait.
 */
#ifndef LB_RENDEZVOUS_H
#define LB_RENDEZVOUS_H

#include "lb_maps.h"

/* The larger of two numbers below 1 << 63. Which one it is cannot be foretold, so a branch would cost more than this; the
 * shift is in assembler because the compiler, which sees what is meant, would make it one. */
static __always_inline __u64 larger(__u64 one, __u64 other)
{
	__u64 lead = one - other, less = lead;

	asm("%0 s>>= 63" : "+r"(less));
	return one - (lead & less);
}

/* A word of a block of preferences, which is in one page. */
static __always_inline __u32 block_word(const struct lb_row_page *page, __u32 block, __u32 i)
{
	return page->words[(block % LB_PAGE_WORDS + i) & (LB_PAGE_WORDS - 1)];
}

static __always_inline const struct lb_row_page *page_of(__u32 block)
{
	__u32 number = block / LB_PAGE_WORDS;

	return bpf_map_lookup_elem(&lb_rows, &number);
}

/* Where the slot stands in the order of a member; only the lowest 24 bits of its preference matter. */
static __always_inline __u64 rank(const struct lb_ranks *ranks, __u32 preference, __u32 slot)
{
	__u32 place = preference + slot * (preference >> LB_RENDEZVOUS_BITS);

	return ranks->ranks[place % (1 << LB_RENDEZVOUS_BITS)];
}

/* The same as dearest() of a line that has the preferences. */
static __always_inline __u32 dearest_here(const struct lb_frontend *frontend, const struct lb_ranks *ranks, __u32 slot)
{
	__u32 number = frontend->block, members = frontend->members, position, turn;
	const struct lb_shortcut *line = bpf_map_lookup_elem(&lb_shortcuts, &number);
	const struct lb_row_page *page;
	__u64 best = 0;

	if (!line)
		return 0;
	for (__u32 i = 0; i < LB_SHORTCUT_MEMBERS; i++) {
		if (i >= members)
			break;
		/* Of two that are as dear, the first. The bits above are of the next one. */
		best = larger(best, rank(ranks, *(const __u32 *)(line->preferences + 3 * i), slot) << 4 | (15 - i));
	}
	turn = ~best & 15;
	position = *((const __u64 *)(line + 1) - 1) >> (8 * (8 - sizeof(line->whose)) + 4 * turn) & 15;
	if (frontend->flags & LB_FRONTEND_NEAR)
		return line->first + position;
	page = page_of(line->first);
	return page ? block_word(page, line->first, position) : 0;
}

/* The backend id of the member to whom the slot of this hash is dearest, for a frontend with LB_FRONTEND_RENDEZVOUS. 0 for
 * none. */
static __always_inline __u32 dearest(const struct lb_frontend *frontend, __u32 hash)
{
	__u32 first = 0, members = frontend->members, slot = hash >> (32 - LB_RENDEZVOUS_BITS);
	const struct lb_ranks *ranks = bpf_map_lookup_elem(&lb_ranks, &first);
	const struct lb_row_page *page;
	__u64 best = 0;

	if (!ranks)
		return 0;
	if (frontend->flags & LB_FRONTEND_HERE)
		return dearest_here(frontend, ranks, slot);
	page = page_of(frontend->block);
	if (!page)
		return 0;
	/* The constant ends the loop: the verifier before 6.8 does not compare two numbers of which it knows only ranges. In
	 * pairs, or in two searches side by side, it takes longer. */
	for (__u32 i = 0; i < LB_RENDEZVOUS_MEMBERS; i++) {
		__u32 preference;

		if (i >= members)
			break;
		preference = block_word(page, frontend->block, members + i);
		/* Of two that are as dear, the highest bits of the preference decide. */
		best = larger(best, rank(ranks, preference, slot) << 32 | preference);
	}
	return block_word(page, frontend->block, (best >> 24) % LB_RENDEZVOUS_MEMBERS);
}

#endif
