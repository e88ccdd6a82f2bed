/** The progress of `berth import`: a bar that is redrawn on a terminal, a line every five seconds elsewhere. */
import type { ImportObserver } from "../plan/model/importing.ts";

export interface Bar {
  readonly observer: ImportObserver;
  /** Leaves the cursor on a line of its own. */
  end(): void;
}

const BAR_WIDTHS = [28, 20, 12, 8] as const;
const units = ["B", "kB", "MB", "GB", "TB"] as const;

/** 1,500,000 → "1.5 MB". */
export function sizeText(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? value.toFixed(0) : value.toFixed(1)} ${units[unit] ?? ""}`;
}

function timeText(seconds: number): string {
  if (seconds < 60) return `${String(Math.ceil(seconds))} s`;
  return `${String(Math.floor(seconds / 60))} min ${String(Math.floor(seconds % 60))} s`;
}

export interface Course {
  bytes: number;
  copiedBytes: number;
  totalBytes: number;
  files: number;
  allFiles: number;
  retries: number;
  phase: string;
}

/** From the roomiest on. What tells least goes first: some of the bar, the files, all of the bar, tries, the rate. */
function* formsOf(course: Course, seconds: number): Iterable<string> {
  const { bytes, copiedBytes, totalBytes, files, allFiles, retries } = course;
  const share = Math.min(1, bytes / totalBytes);
  const rate = seconds > 0 ? copiedBytes / seconds : 0;
  const left = rate > 0 && bytes < totalBytes ? `, ${timeText((totalBytes - bytes) / rate)} left` : "";
  const tries = retries > 0 ? `, ${String(retries)} tried again` : "";
  const count = `, ${String(files)}/${String(allFiles)} files`;
  const pace = `, ${sizeText(rate)}/s`;
  const sizes = `${String(Math.floor(share * 100))}% ${sizeText(bytes)} of ${sizeText(totalBytes)}`;
  const bar = (width: number): string => `[${"#".repeat(Math.floor(share * width)).padEnd(width, ".")}] `;
  for (const width of BAR_WIDTHS) yield `${bar(width)}${sizes}${count}${pace}${left}${tries}`;
  for (const width of BAR_WIDTHS) yield `${bar(width)}${sizes}${pace}${left}${tries}`;
  yield `${sizes}${pace}${left}${tries}`;
  yield `${sizes}${pace}${left}`;
  yield `${sizes}${left}`;
  yield sizes;
}

/** One line of at most `most` characters: bar, share, bytes, files, rate, time left, tries. `seconds` since copying began. */
export function lineOf(course: Course, seconds: number, most = Infinity): string {
  const forms = course.totalBytes === 0 ? [course.phase] : [...formsOf(course, seconds)];
  return forms.find(({ length }) => length <= most) ?? forms.at(-1)?.slice(0, most) ?? "";
}

/** Its width changes with its window's. */
export interface Terminal {
  readonly columns: number;
}

/** A row that is wrapped cannot be drawn over, and one that fills the last column is wrapped by some terminals. */
const roomOf = ({ columns }: Terminal): number => (columns > 0 ? columns : 80) - 1;

/** `now` in milliseconds. */
export function newBar(
  write: (text: string) => void,
  { terminal, now }: { terminal: Terminal | undefined; now: () => number },
): Bar {
  const course: Course & { copyingSince?: number } = {
    bytes: 0,
    copiedBytes: 0,
    totalBytes: 0,
    files: 0,
    allFiles: 0,
    retries: 0,
    phase: "listing",
  };
  const everyMs = terminal ? 100 : 5_000;
  let last = -Infinity;
  let drawn = false;
  const draw = (force = false): void => {
    const at = now();
    if (!force && at - last < everyMs) return;
    last = at;
    const seconds = course.copyingSince === undefined ? 0 : (at - course.copyingSince) / 1000;
    const line = lineOf(course, seconds, terminal && roomOf(terminal));
    write(terminal ? `\r\u001b[2K${line}` : `${line}\n`);
    drawn = true;
  };
  return {
    observer: newObserver(course, now, draw, (words) => write(`${terminal && drawn ? "\n" : ""}${words}\n`)),
    end() {
      if (terminal && drawn) write("\n");
      drawn = false;
    },
  };
}

function newObserver(
  course: Course & { copyingSince?: number },
  now: () => number,
  draw: (force?: boolean) => void,
  say: (words: string) => void,
): ImportObserver {
  let isUnstated = false;
  return {
    listed(listing) {
      Object.assign(course, { totalBytes: listing.sizeBytes, allFiles: listing.files.length, phase: "inspecting" });
      draw(true);
    },
    inspected: () => undefined,
    bytes(count, copied) {
      course.copyingSince ??= now();
      course.bytes += count;
      if (copied) course.copiedBytes += count;
      draw();
    },
    reused(files, bytes) {
      course.bytes += bytes;
      course.files += files;
      draw(true);
    },
    file() {
      course.files++;
      draw();
    },
    going: () => undefined,
    committing: () => draw(true),
    unstated(path, because) {
      if (!isUnstated)
        say(`what comes of ${path.slice(0, 200)} is compared with no checksum of the source's own: ${because}`);
      isUnstated = true;
    },
    partRetried: () => void course.retries++,
  };
}
