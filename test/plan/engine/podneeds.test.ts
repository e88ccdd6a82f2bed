// Shared memory, requests and the time that a start may take.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import {
  podNeeds,
  progressSeconds,
  readyTimeout,
  startupFailures,
  type PodNeedsInput,
} from "../../../operator/plan/engine/podneeds.ts";

const GiB = 2 ** 30;
const small: PodNeedsInput = {
  weightBytes: 16e9,
  gpuCount: 1,
  gpuResource: "nvidia.com/gpu",
  node: { vcpus: 16, memory: "64Gi" },
};
const large: PodNeedsInput = { ...small, weightBytes: 141e9, gpuCount: 8, node: { vcpus: 192, memory: "2Ti" } };

describe("what the pod needs", () => {
  test("an 8B model on one GPU", () => {
    const needs = podNeeds(small);
    assert.equal(needs.sharedMemoryBytes, 2 * GiB);
    assert.equal(needs.cpuMillis, 6000);
    assert.equal(needs.memoryBytes, 16e9 + 18 * GiB);
    assert.equal(needs.startupSeconds, 2 * (16e9 / 200e6 + 300));
    assert.deepEqual(needs.supplementalGroups, []);
  });

  test("a 70B model on eight", () => {
    const needs = podNeeds(large);
    assert.equal(needs.sharedMemoryBytes, 16 * GiB);
    assert.equal(needs.cpuMillis, 20_000);
    assert.ok((needs.memoryBytes ?? 0) < 64 * GiB);
  });

  test("AMD's GPUs want more shared memory and the group of their device files", () => {
    const needs = podNeeds({ ...small, gpuResource: "amd.com/gpu" });
    assert.equal(needs.sharedMemoryBytes, 8 * GiB);
    assert.deepEqual(needs.supplementalGroups, [44]);
  });

  test("the node's disk and network shorten what a start may take", () => {
    const fast = podNeeds({
      ...large,
      node: { vcpus: 192, memory: "2Ti", diskThroughput: "5G", networkThroughput: "10G" },
    });
    const slow = podNeeds(large);
    assert.ok(fast.startupSeconds < slow.startupSeconds);
    assert.ok(fast.fetchSeconds < slow.fetchSeconds);
    assert.equal(startupFailures(fast, 10) * 10 >= fast.startupSeconds, true);
    assert.equal(readyTimeout(fast).value, String(fast.startupSeconds));
  });

  test("a rollout is given up after images, fetch and start together: by network and disk", () => {
    const slow = podNeeds(large);
    assert.equal(slow.fetchSeconds, Math.ceil(2 * (141e9 / 125e6 + 60)));
    assert.equal(progressSeconds(slow), 900 + slow.fetchSeconds + slow.startupSeconds);
    const near = podNeeds({ ...large, node: { vcpus: 192, memory: "2Ti", networkThroughput: "10G" } });
    assert.equal(near.startupSeconds, slow.startupSeconds, "the files are there when the engine's container starts");
    assert.ok(progressSeconds(near) < progressSeconds(slow));
  });

  test("without a NodeType no request is stated beside the GPUs", () => {
    const { cpuMillis, memoryBytes } = podNeeds({ ...small, node: undefined });
    assert.deepEqual([cpuMillis, memoryBytes], [undefined, undefined]);
  });

  test("never exceeds four fifths of the node, and more weights never need less", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 2e12 }),
        fc.integer({ min: 0, max: 1e12 }),
        fc.constantFrom(1, 2, 4, 8, 16),
        fc.integer({ min: 1, max: 512 }),
        fc.integer({ min: 4, max: 4096 }),
        (weightBytes, more, gpuCount, vcpus, memoryGiB) => {
          const input = { ...small, weightBytes, gpuCount, node: { vcpus, memory: `${memoryGiB}Gi` } };
          const needs = podNeeds(input);
          const heavier = podNeeds({ ...input, weightBytes: weightBytes + more });
          assert.ok((needs.memoryBytes ?? 0) <= (memoryGiB * GiB * 4) / 5);
          assert.ok((needs.cpuMillis ?? 0) <= vcpus * 800);
          assert.ok(needs.sharedMemoryBytes <= Math.max(GiB, (memoryGiB * GiB) / 4));
          assert.ok((heavier.memoryBytes ?? 0) >= (needs.memoryBytes ?? 0));
          assert.ok(heavier.startupSeconds >= needs.startupSeconds);
        },
      ),
    );
  });
});
