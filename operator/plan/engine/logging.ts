/**
 * vLLM's logging, by its own VLLM_LOGGING_CONFIG_PATH (a Python dictConfig in JSON). Everything goes to standard output as
 * by default; what ends the engine is written beside into the container's termination message, which the kubelet puts
 * into the pod's status. The end of the log would not do: after the error that says why, 0.32.0 prints two further
 * tracebacks of processes that only saw it, 5 KB in all, and the kubelet takes 2 KiB of a log.
 */
/** The kubelet's default terminationMessagePath; it reads the last 4 KiB of it. */
const TERMINATION_MESSAGE_PATH = "/dev/termination-log";

/** Loggers that report the end of the engine, and nothing of a single request. */
const FATAL_LOGGERS = ["vllm.v1.engine.core", "vllm.v1.executor"];

export function engineLogging(): string {
  return JSON.stringify({
    version: 1,
    disable_existing_loggers: false,
    formatters: {
      line: {
        format: "(%(processName)s pid=%(process)d) %(levelname)s %(asctime)s [%(filename)s:%(lineno)d] %(message)s",
      },
      bare: { format: "%(message)s" },
    },
    handlers: {
      out: { class: "logging.StreamHandler", formatter: "line", stream: "ext://sys.stdout" },
      end: {
        class: "logging.FileHandler",
        formatter: "bare",
        level: "ERROR",
        filename: TERMINATION_MESSAGE_PATH,
        delay: true,
      },
    },
    loggers: {
      vllm: { handlers: ["out"], level: "INFO", propagate: false },
      ...Object.fromEntries(FATAL_LOGGERS.map((name) => [name, { handlers: ["end"] }])),
    },
  });
}
