/** Small files of Berth's that the engine reads: annotations of its pod, which the downward API puts into one folder. */
export const FILES_FOLDER = "/etc/berth";
export const LOGGING_FILE = "logging.json";
export const CHAT_TEMPLATE_FILE = "chat_template.jinja";
export const CHAT_TEMPLATE_PATH = `${FILES_FOLDER}/${CHAT_TEMPLATE_FILE}`;
