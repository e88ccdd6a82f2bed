// The second half of `make e2e-setup`: builds now what `make e2e` would build at its first run (kubelet, kube-proxy, CoreDNS,
// the control plane, Berth's images) and fetches the model, so that the journey begins at once.
import { MissingPrerequisite } from "../cluster/build.ts";
import { Missing } from "../../image/missing.ts";
import { gatherMaterial } from "./material.ts";
import { duration } from "./tour.ts";

const say = (line: string): void => console.log(line);
const startedAt = Date.now();

try {
  say("building what make e2e runs, some minutes where nothing is there yet");
  await gatherMaterial(say);
  say(`built in ${duration(Date.now() - startedAt)}: make e2e can begin`);
} catch (error) {
  const isWords = error instanceof Missing || error instanceof MissingPrerequisite;
  console.error(isWords ? error.message : error);
  process.exitCode = 1;
}
