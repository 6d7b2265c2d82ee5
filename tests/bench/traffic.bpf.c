// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Both ends of the forwarding that is measured, on one device of the router, and a node that does next to nothing:
 *
 *   generate  run with BPF_F_TEST_XDP_LIVE_FRAMES, sends packets of the scene out of that device, and none while as many as
 *             the window allows have not come back.
 *   sink      attached to it, counts and drops what comes back for the backends; everything else goes to the stack, which
 *             answers for addresses.
 *   bounce    attached to the node's device, sends back what comes.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "scene.h"

char _license[] SEC("license") = "GPL";

/* The first three bytes of the backends' addresses, in network order: what came back for them has been forwarded. */
#define BACKENDS 0x0af40200

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} arrived SEC(".maps");

/* What is timed: from the making of the first packet to the arrival of the one of this number (CLOCK_MONOTONIC nanoseconds, 0:
 * not yet). */
struct flight {
	__u64 began;
	__u64 ended;
	__u32 awaited;
	__u32 came;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct flight);
} flights SEC(".maps");

static __always_inline struct flight *this_flight(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&flights, &zero);
}

/* No more than `most` packets on their way, 0: as many as come. `sent` since it was set; they come back on `cpu`. */
struct window {
	__u64 most;
	__u64 sent;
	__u32 cpu;
	__u32 started; /* `before` is set */
	__u64 before; /* what had come back already */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct window);
} window SEC(".maps");

static __always_inline int has_room(void)
{
	__u32 zero = 0;
	struct window *limit = bpf_map_lookup_elem(&window, &zero);
	volatile __u64 *back;

	if (!limit || !limit->most)
		return 1;
	back = bpf_map_lookup_percpu_elem(&arrived, &zero, limit->cpu);
	if (!back)
		return 0;
	if (!limit->started) {
		limit->started = 1;
		limit->before = *back;
	}
	if (limit->sent - (*back - limit->before) >= limit->most)
		return 0;
	limit->sent++;
	return 1;
}

/* The kernel does not forward a header whose checksum is wrong. */
static __always_inline void renew_checksum(struct xdp_md *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct iphdr *ip = (void *)(eth + 1);

	if ((void *)(ip + 1) > (void *)(long)ctx->data_end)
		return;
	ip->check = 0;
	ip->check = header_csum(ip);
}

SEC("xdp")
int generate(struct xdp_md *ctx)
{
	struct flight *flight = this_flight();

	if (!has_room())
		return XDP_DROP;
	if (!flight || next_packet(ctx))
		return XDP_ABORTED;
	if (!flight->began)
		flight->began = bpf_ktime_get_ns();
	renew_checksum(ctx);
	return bpf_redirect(ctx->ingress_ifindex, 0);
}

SEC("xdp")
int sink(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct iphdr *ip = (void *)(eth + 1);
	struct flight *flight = this_flight();
	__u32 zero = 0;
	__u64 *packets;

	if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	if ((ip->daddr & bpf_htonl(0xffffff00)) != bpf_htonl(BACKENDS))
		return XDP_PASS;
	packets = bpf_map_lookup_elem(&arrived, &zero);
	if (packets)
		*packets += 1;
	if (flight && ++flight->came == flight->awaited)
		flight->ended = bpf_ktime_get_ns();
	return XDP_DROP;
}

SEC("xdp")
int bounce(struct xdp_md *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;
	__u8 us[ETH_ALEN];

	if ((void *)(eth + 1) > (void *)(long)ctx->data_end)
		return XDP_DROP;
	if (eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	__builtin_memcpy(us, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, us, ETH_ALEN);
	return XDP_TX;
}
