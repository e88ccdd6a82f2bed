/**
 * Flags and environment → one frozen Config for each role (config/). All problems are collected, so that one start shows them all.
 */
export { commonOptions, fetchOptions, importerOptions, operatorOptions, storeOptions } from "./options.ts";
export { commonConfig, type CommonConfig } from "./config/cluster.ts";
export { fetchConfig, type FetchConfig } from "./config/fetch.ts";
export { importerConfig, type ImporterConfig } from "./config/importer.ts";
export { operatorConfig, type OperatorConfig } from "./config/operator.ts";
export { ConfigError } from "./config/reader.ts";
export { storeConfig, type StoreConfig } from "./config/store.ts";
