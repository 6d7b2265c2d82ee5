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

/* Words among which a block is: those of a page, or of a line that has it too. `at` is where it begins. */
struct words {
	const __u32 *words;
	__u32 at, mask;
};

static __always_inline __u32 word(const struct words *of, __u32 i)
{
	return of->words[(of->at + i) & of->mask];
}

static __always_inline bool find_words(const struct lb_frontend *frontend, struct words *found)
{
	__u32 number = frontend->block;
	const struct lb_shortcut *line;
	const struct lb_row_page *page;

	if (frontend->flags & LB_FRONTEND_HERE) {
		line = bpf_map_lookup_elem(&lb_shortcuts, &number);
		if (!line)
			return false;
		*found = (struct words){ line->words, LB_SHORTCUT_BLOCK, LB_SHORTCUT_WORDS - 1 };
	} else {
		number /= LB_PAGE_WORDS;
		page = bpf_map_lookup_elem(&lb_rows, &number);
		if (!page)
			return false;
		*found = (struct words){ page->words, frontend->block % LB_PAGE_WORDS, LB_PAGE_WORDS - 1 };
	}
	return true;
}

/* The backend id of the member to whom the slot of this hash is dearest, for a frontend with LB_FRONTEND_RENDEZVOUS. 0 for
 * none. */
static __always_inline __u32 dearest(const struct lb_frontend *frontend, __u32 hash)
{
	__u32 first = 0, members = frontend->members, slot = hash >> (32 - LB_RENDEZVOUS_BITS);
	const struct lb_ranks *ranks = bpf_map_lookup_elem(&lb_ranks, &first);
	struct words block;
	__u64 best = 0;

	if (!ranks || !find_words(frontend, &block))
		return 0;
	/* The constant ends the loop: the verifier before 6.8 does not compare two numbers of which it knows only ranges. In
	 * pairs, or in two searches side by side, it takes longer. */
	for (__u32 i = 0; i < LB_RENDEZVOUS_MEMBERS; i++) {
		__u32 preference, place;

		if (i >= members)
			break;
		preference = word(&block, members + i);
		place = preference + slot * (preference >> LB_RENDEZVOUS_BITS);
		/* Of two that are as dear, the highest bits of the preference decide. */
		best = larger(best, (__u64)ranks->ranks[place % (1 << LB_RENDEZVOUS_BITS)] << 32 | preference);
	}
	return word(&block, (best >> 24) % LB_RENDEZVOUS_MEMBERS);
}

#endif
