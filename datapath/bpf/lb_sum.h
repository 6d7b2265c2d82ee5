/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * Sums over what user space has written, by which it sees whether that still stands there: an entry of a map is mixed to 64
 * bits, and a map is the sum of its entries, in whatever order it is walked. Every step of the mixing can be undone, so an
 * entry of which one word has changed never mixes to the same. Of other states that differ, two have the same sum once in 2^64;
 * nobody is kept from making such by intent.
 *
 * For BPF programs (lb_sum) and for user space (rows.c).
 */
#ifndef LB_SUM_H
#define LB_SUM_H

#include <linux/types.h>

/* Not 0, with which zeros would stay zeros. */
#define LB_SUM_START 0x243f6a8885a308d3ULL

static inline __attribute__((always_inline)) __u64 lb_mixed(__u64 sum, __u64 word)
{
	sum = (sum ^ word) * 0x9e3779b97f4a7c15ULL;
	return sum ^ sum >> 32;
}

/* Sizes in bytes, which are multiples of 4, and constants where this is a program. */
static inline __attribute__((always_inline)) __u64 lb_entry_mixed(const __u32 *key, __u32 key_size, const __u32 *value,
								   __u32 value_size)
{
	__u64 sum = LB_SUM_START;

	for (__u32 i = 0; i < key_size / 4; i++)
		sum = lb_mixed(sum, key[i]);
	for (__u32 i = 0; i < value_size / 4; i++)
		sum = lb_mixed(sum, value[i]);
	return sum;
}

#endif
