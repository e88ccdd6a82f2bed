/** Parsers of arguments that name places: one of another form is a wrong flag (exit code 2), told before anything is opened. */
import { InvalidArgumentError } from "commander";
import { ENDPOINT_FORM, STORAGE_FORM, endpointFault, storageFault, storeFault } from "../adapters/storageurl.ts";

const parser =
  (faultOf: (text: string) => string | undefined, form: string) =>
  (text: string): string => {
    const fault = faultOf(text);
    if (fault !== undefined) throw new InvalidArgumentError(`It ${fault}: ${form}.`);
    return text;
  };

export const storeURL = parser(storeFault, STORAGE_FORM);
export const ledgerURL = parser(storageFault, STORAGE_FORM);
export const endpointURL = parser(endpointFault, ENDPOINT_FORM);

function sourceFault(text: string): string | undefined {
  const [, scheme, rest = ""] = /^([A-Za-z][A-Za-z0-9+.-]*):\/\/(.*)$/s.exec(text) ?? [];
  if (scheme === undefined) return text === "" ? "is empty" : undefined;
  if (scheme === "file") return rest.startsWith("/") ? undefined : "names a host, and no path from the root on";
  if (scheme === "s3" && /^[^/]*[@:]/.test(rest)) return "names more than a bucket before its path";
  if (scheme === "s3") return rest === "" || rest.startsWith("/") ? "names no bucket" : undefined;
  if (scheme === "hf") return rest === "" || rest.startsWith("/") ? "names no repository" : undefined;
  return "has another scheme";
}

/** Of a model that is read; whether it is there is seen later. */
export const sourcePlace = parser(sourceFault, "write a folder, s3://bucket/prefix or hf://org/name");
