/** What the host lacks, in one line that says how to get it. Callers print the message and nothing else. */
export class Missing extends Error {}

/** Where progress goes: one line per call. */
export type Progress = (line: string) => void;
