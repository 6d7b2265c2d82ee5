// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * What the measurements need besides the program that is measured:
 *
 *   restore    puts the packet back as it came, of the next flow, and tail-calls the program under test. A packet that
 *              BPF_PROG_TEST_RUN repeats is not restored by the kernel: a program that encapsulates would see its own
 *              output from the second round on.
 *   nothing    the program under test that does nothing: what restoring costs.
 *   reference  the least that any honest XDP forwarder does: parse, one hash hit with a key of 24 bytes, bpf_fib_lookup,
 *              one outer header, one counter.
 */
#include <stdbool.h>
#include <stddef.h>

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "scene.h"

#define AF_INET 2
#define AF_INET6 10

char _license[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} under_test SEC(".maps");

SEC("xdp.frags")
int restore(struct xdp_md *ctx)
{
	__u32 length = ctx->data_end - ctx->data;

	if (length != FRAME && bpf_xdp_adjust_head(ctx, (int)length - FRAME))
		return XDP_ABORTED;
	if (next_packet(ctx))
		return XDP_ABORTED;
	bpf_tail_call_static(ctx, &under_test, 0);
	return XDP_ABORTED;
}

SEC("xdp.frags")
int nothing(struct xdp_md *ctx __attribute__((unused)))
{
	return XDP_TX;
}

struct service {
	__u8 address[16];
	__u16 port;
	__u8 protocol;
	__u8 pad[5];
};

struct target {
	__u8 source[16];
	__u8 address[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct service);
	__type(value, struct target);
} services SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} forwarded SEC(".maps");

static __always_inline void count(void)
{
	__u32 zero = 0;
	__u64 *packets = bpf_map_lookup_elem(&forwarded, &zero);

	if (packets)
		*packets += 1;
}

static __always_inline int send(struct xdp_md *ctx, const struct bpf_fib_lookup *fib, const void *outer, int size,
				__be16 protocol)
{
	struct ethhdr *eth;

	if (bpf_xdp_adjust_head(ctx, -size))
		return XDP_ABORTED;
	eth = (void *)(long)ctx->data;
	if ((void *)(eth + 1) + size > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	__builtin_memcpy(eth->h_dest, fib->dmac, ETH_ALEN);
	__builtin_memcpy(eth->h_source, fib->smac, ETH_ALEN);
	eth->h_proto = protocol;
	__builtin_memcpy(eth + 1, outer, size);
	count();
	return XDP_TX;
}

static __always_inline int forward4(struct xdp_md *ctx, struct iphdr *ip, void *end)
{
	__u16 *ports = (void *)(ip + 1);
	struct service key = {};
	struct target *target;
	struct iphdr outer = {};
	struct bpf_fib_lookup fib = {};

	if ((void *)(ports + 2) > end || ip->protocol != IPPROTO_TCP)
		return XDP_PASS;
	__builtin_memcpy(key.address, &ip->daddr, 4);
	key.port = ports[1];
	key.protocol = ip->protocol;
	target = bpf_map_lookup_elem(&services, &key);
	if (!target)
		return XDP_PASS;
	fib.family = AF_INET;
	fib.ifindex = ctx->ingress_ifindex;
	fib.tot_len = bpf_ntohs(ip->tot_len) + sizeof(*ip);
	__builtin_memcpy(&fib.ipv4_src, target->source, 4);
	__builtin_memcpy(&fib.ipv4_dst, target->address, 4);
	if (bpf_fib_lookup(ctx, &fib, sizeof(fib), 0))
		return XDP_DROP;
	outer.version = 4;
	outer.ihl = 5;
	outer.ttl = 64;
	outer.protocol = IPPROTO_IPIP;
	outer.tot_len = bpf_htons(bpf_ntohs(ip->tot_len) + sizeof(*ip));
	__builtin_memcpy(&outer.saddr, target->source, 4);
	__builtin_memcpy(&outer.daddr, target->address, 4);
	outer.check = header_csum(&outer);
	return send(ctx, &fib, &outer, sizeof(outer), bpf_htons(ETH_P_IP));
}

static __always_inline int forward6(struct xdp_md *ctx, struct ipv6hdr *ip, void *end)
{
	__u16 *ports = (void *)(ip + 1);
	struct service key = {};
	struct target *target;
	struct ipv6hdr outer = {};
	struct bpf_fib_lookup fib = {};

	if ((void *)(ports + 2) > end || ip->nexthdr != IPPROTO_TCP)
		return XDP_PASS;
	__builtin_memcpy(key.address, &ip->daddr, 16);
	key.port = ports[1];
	key.protocol = ip->nexthdr;
	target = bpf_map_lookup_elem(&services, &key);
	if (!target)
		return XDP_PASS;
	fib.family = AF_INET6;
	fib.ifindex = ctx->ingress_ifindex;
	fib.tot_len = bpf_ntohs(ip->payload_len) + 2 * sizeof(*ip);
	__builtin_memcpy(fib.ipv6_src, target->source, 16);
	__builtin_memcpy(fib.ipv6_dst, target->address, 16);
	if (bpf_fib_lookup(ctx, &fib, sizeof(fib), 0))
		return XDP_DROP;
	outer.version = 6;
	outer.payload_len = bpf_htons(bpf_ntohs(ip->payload_len) + sizeof(*ip));
	outer.nexthdr = IPPROTO_IPV6;
	outer.hop_limit = 64;
	__builtin_memcpy(&outer.saddr, target->source, 16);
	__builtin_memcpy(&outer.daddr, target->address, 16);
	return send(ctx, &fib, &outer, sizeof(outer), bpf_htons(ETH_P_IPV6));
}

SEC("xdp.frags")
int reference(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;

	if ((void *)(eth + 1) > end)
		return XDP_PASS;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = (void *)(eth + 1);

		return (void *)(ip + 1) > end ? XDP_PASS : forward4(ctx, ip, end);
	}
	if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = (void *)(eth + 1);

		return (void *)(ip + 1) > end ? XDP_PASS : forward6(ctx, ip, end);
	}
	return XDP_PASS;
}
