/** A thread that answers questions in any order. Who waits for one that dies is told, and so is who asks it afterwards. */
import { Worker } from "node:worker_threads";
import type { WorkerOptions } from "node:worker_threads";
import { RetryError, messageOf } from "../runtime/errors.ts";

/** What the thread held is gone with it; another may do the same work from its beginning. */
export class ThreadDiedError extends RetryError {
  constructor(cause: unknown) {
    super(new Error(`a thread that hashes died: ${messageOf(cause)}`, { cause }));
    this.name = "ThreadDiedError";
  }
}

export interface Thread<Question, Answer> {
  ask(question: Question): Promise<Answer>;
  /** Questions that it has not answered. */
  readonly asked: number;
  readonly isDead: boolean;
  /** What is still asked never resolves. */
  close(): Promise<unknown>;
}

/** `program` is plain CommonJS; it gets each question with a `call` beside its fields, and posts the answer with the same. */
export function newThread<Question extends object, Answer>(
  program: string,
  options: WorkerOptions = {},
): Thread<Question, Answer> {
  const worker = new Worker(program, { ...options, eval: true });
  const waiting = new Map<number, PromiseWithResolvers<Answer>>();
  let calls = 0;
  let isClosed = false;
  let dead: ThreadDiedError | undefined;
  const die = (cause: unknown): void => {
    if (isClosed) return;
    dead ??= new ThreadDiedError(cause);
    for (const { reject } of waiting.values()) reject(dead);
    waiting.clear();
  };
  worker.on("message", (answer: Answer & { readonly call: number }) => {
    waiting.get(answer.call)?.resolve(answer);
    waiting.delete(answer.call);
  });
  worker.on("error", die);
  // One that is ended from without tells of no error.
  worker.on("exit", (code) => die(new Error(`it ended with code ${String(code)}`)));
  return {
    ask(question) {
      if (dead) return Promise.reject(dead);
      const call = calls++;
      const answer = Promise.withResolvers<Answer>();
      waiting.set(call, answer);
      worker.postMessage({ ...question, call });
      return answer.promise;
    },
    get asked() {
      return waiting.size;
    },
    get isDead() {
      return dead !== undefined;
    },
    close() {
      isClosed = true;
      return worker.terminate();
    },
  };
}

/** Lost work is begun anew so often: what kills each thread that does it must not go on for ever. */
const MOST_TRIES = 3;

/** For work that can be done again from its beginning. */
export async function againIfDead<T>(work: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof ThreadDiedError) || tries === MOST_TRIES) throw error;
    }
  }
}
