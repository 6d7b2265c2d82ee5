/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The packets that the measurements are made with: a frame, and how one packet differs from the next. */
#ifndef LOCKSTEP_BENCH_SCENE_H
#define LOCKSTEP_BENCH_SCENE_H

#define FRAME 80 /* bytes: some payload behind TCP, over IPv4 and over IPv6 */

/*
 * `flows` is a power of two. Flow i has the low 16 bits of i in its source port and the others in its source address, and
 * goes to service i modulo `services`, which is in the last 16 bits of the destination address. Places are offsets, and may
 * be others. Neighbours do not follow one another: see flow_of().
 */
struct scene {
	__u64 frame[FRAME / 8];
	__u32 flows;
	__u32 services;
	__u32 next;
	__u16 port_at;
	__u16 source_at;      /* offset of the last 4 bytes of the address */
	__u16 destination_at; /* likewise */
	__u16 first; /* added to the flow's number where it becomes a port */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scene);
} scenes SEC(".maps");

static __always_inline void put(struct xdp_md *ctx, __u16 at, __u16 value)
{
	__u8 *place = (void *)(long)ctx->data + (at & 127); /* the verifier wants to know how far */

	if (place + sizeof(value) <= (__u8 *)(long)ctx->data_end)
		*(__u16 *)place = value;
}

/*
 * The last 2 bytes of the address of which the last 4 begin at `at`. All 4 are written: who reads an address of which a part
 * has just been written waits until that is in the cache, which no packet from a wire makes him do.
 */
static __always_inline void put_address(struct xdp_md *ctx, const struct scene *scene, __u16 at, __u16 value)
{
	__u8 *place = (void *)(long)ctx->data + (at & 127);
	const __u8 *word = (const __u8 *)scene->frame + (at & 63);

	if (place + sizeof(__u32) <= (__u8 *)(long)ctx->data_end)
		*(__u32 *)place = bpf_htonl((bpf_ntohl(*(const __u32 *)word) & 0xffff0000) | bpf_ntohs(value));
}

/* RFC 1071, of a header without options whose checksum field is 0. */
static __always_inline __u16 header_csum(const struct iphdr *ip)
{
	const __u16 *words = (const void *)ip;
	__u32 sum = 0;

#pragma unroll
	for (int i = 0; i < (int)(sizeof(*ip) / 2); i++)
		sum += words[i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/*
 * The flow of a packet: each of them once before one comes again, in no order that a processor could foresee. One after the
 * other, services would be in the cache before they are asked for, which no traffic does. `mask` is their number - 1.
 */
static __always_inline __u32 flow_of(__u32 packet, __u32 mask)
{
	packet = packet * 0x9e3779b1u & mask;
	packet ^= packet >> 7;
	return packet * 0x85ebca6bu & mask;
}

/*
 * Writes the next packet over the one in `ctx`, which has FRAME bytes. Returns 0, or -1 if there is no scene. Its checksums
 * are those of the first packet.
 */
static __always_inline int next_packet(struct xdp_md *ctx)
{
	__u32 zero = 0, flow;
	struct scene *scene = bpf_map_lookup_elem(&scenes, &zero);
	__u64 *words = (void *)(long)ctx->data;

	if (!scene || (void *)(words + FRAME / 8) > (void *)(long)ctx->data_end)
		return -1;
#pragma unroll
	for (int i = 0; i < FRAME / 8; i++)
		words[i] = scene->frame[i];
	flow = flow_of(scene->next++, scene->flows - 1);
	put(ctx, scene->port_at, flow + scene->first);
	put_address(ctx, scene, scene->source_at, flow >> 16);
	if (scene->services)
		put_address(ctx, scene, scene->destination_at, bpf_htons(flow % scene->services));
	return 0;
}

#endif
