/** Follows one import: what it reports goes into the metrics at once, into events, and into the status now and then. */
import type { ImportObserver } from "../plan/model/importing.ts";
import type { ModelFacts } from "../plan/model/inspect.ts";
import { progressOf } from "../plan/model/status.ts";
import type { ImportState } from "../plan/model/status.ts";
import type { WayChoice } from "../plan/model/way.ts";
import type { Clock } from "../ports.ts";
import type { ImportMetrics } from "./modelmetrics.ts";
import type { StatusWriter } from "./modelstatus.ts";
import { newTeller } from "./progresspace.ts";
import type { ProgressPace } from "./progresspace.ts";

export interface CourseDeps {
  readonly clock: Clock;
  readonly metrics: ImportMetrics;
  /** When progress may be written to a status. */
  readonly progress: ProgressPace;
}

/** What the run has come to, for the status. */
interface Course {
  phase: "Listing" | "Inspecting" | "Copying" | "Committing";
  bytes: number;
  copiedBytes: number;
  totalBytes: number;
  readonly files: { done: number; all: number };
  facts: ModelFacts | undefined;
  going: WayChoice | undefined;
}

export const beginnings = {
  Listing: "the source is being listed",
  Inspecting: "configuration and tensor headers are being read",
} as const;

function stateOf(
  course: Course,
  endpoint: string,
  startedAtMs: number,
  bytesPerSecond: number | undefined,
): ImportState {
  const { phase, bytes, totalBytes, files, going } = course;
  const progress = progressOf({ phase, bytes, totalBytes, files, startedAtMs, bytesPerSecond, way: going?.way });
  if (phase === "Listing" || phase === "Inspecting")
    return { kind: "importing", phase, message: beginnings[phase], progress };
  const message = `copying ${String(files.all)} files with ${String(totalBytes)} bytes from ${endpoint}`;
  return { kind: "importing", phase: "Copying", message, progress };
}

/** Says that the copy begins, and what it need not bring. */
function beginningOf(
  { files, totalBytes }: Course,
  reused: { readonly files: number; readonly bytes: number },
): string {
  const all = `${String(files.all)} files with ${String(totalBytes)} bytes`;
  if (reused.files === 0) return `copying ${all}`;
  if (reused.files === files.all) return `nothing is copied: an earlier revision holds all ${all}`;
  const held = `${String(reused.files)} files with ${String(reused.bytes)} bytes`;
  return `copying ${all}, but for ${held} that an earlier revision holds`;
}

/** Writes the course into the status; resolves with whether there was anything new. */
function newReport({ clock }: CourseDeps, writer: StatusWriter, endpoint: string, course: Course) {
  const startedAtMs = clock.now();
  let last = { copiedBytes: 0, atMs: clock.monotonicMs() };
  return (): Promise<boolean> => {
    const atMs = clock.monotonicMs();
    const rate = ((course.copiedBytes - last.copiedBytes) * 1000) / Math.max(1, atMs - last.atMs);
    last = { copiedBytes: course.copiedBytes, atMs };
    const state = stateOf(course, endpoint, startedAtMs, course.copiedBytes > 0 ? rate : undefined);
    return writer.write(state, { facts: course.facts });
  };
}

export function follow(deps: CourseDeps, writer: StatusWriter, endpoint: string) {
  const course: Course = {
    phase: "Listing",
    bytes: 0,
    copiedBytes: 0,
    totalBytes: 0,
    files: { done: 0, all: 0 },
    facts: undefined,
    going: undefined,
  };
  const report = newReport(deps, writer, endpoint, course);
  const teller = newTeller(deps.clock, deps.progress, writer.live.metadata.uid ?? "", report);
  return { observer: newObserver(course, writer, deps.metrics, teller.soon), stop: teller.stop };
}

/** The turns of an import that people are told of, each one once. */
function newTurns(course: Course, writer: StatusWriter, soon: () => void) {
  let hasResumed = false;
  let isUnstated = false;
  return {
    begin(reused = { files: 0, bytes: 0 }): void {
      if (course.phase !== "Inspecting") return;
      course.phase = "Copying";
      writer.tell("Copying", beginningOf(course, reused));
      soon();
    },
    resume(): void {
      if (hasResumed) return;
      hasResumed = true;
      writer.tell("Resumed", "going on where an earlier attempt ended: what it brought is not copied again");
    },
    unstated(path: string, because: string): void {
      if (isUnstated) return;
      isUnstated = true;
      writer.tell(
        "ChecksumsUnknown",
        `what comes of ${path.slice(0, 200)} is compared with no checksum of the source's own: ${because}`,
      );
    },
  };
}

/** Keeps the course as the import goes. */
function newObserver(
  course: Course,
  writer: StatusWriter,
  metrics: CourseDeps["metrics"],
  soon: () => void,
): ImportObserver {
  const turns = newTurns(course, writer, soon);
  return {
    listed(listing) {
      course.phase = "Inspecting";
      course.totalBytes = listing.sizeBytes;
      course.files.all = listing.files.length;
    },
    inspected(facts) {
      course.facts = facts;
    },
    bytes(count, copied) {
      turns.begin();
      course.bytes += count;
      metrics.bytes.inc({ outcome: copied ? "copied" : "resumed" }, count);
      if (copied) course.copiedBytes += count;
      else turns.resume();
    },
    reused(files, bytes) {
      turns.begin({ files, bytes });
      course.bytes += bytes;
      course.files.done += files;
      metrics.bytes.inc({ outcome: "reused" }, bytes);
    },
    file: () => void course.files.done++,
    going(choice) {
      if (course.going) writer.tell("Copying", choice.because);
      course.going = choice;
    },
    committing: () => void (course.phase = "Committing"),
    unstated: turns.unstated,
    partRetried: () => metrics.partsRetried.inc(),
  };
}
