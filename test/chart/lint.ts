// `make verify`: the chart as helm lint sees it. Exit code 1 and helm's words where it finds something.
import { join } from "node:path";
import { run } from "../cluster/cluster.ts";
import { repoDir } from "../cluster/paths.ts";
import { ensureClients } from "../cluster/prebuilt.ts";

const { helm } = await ensureClients((line) => console.log(line));
const { code, stdout, stderr } = await run(helm, ["lint", "--strict", join(repoDir, "charts", "berth")]);
if (code !== 0) {
  console.error(stdout + stderr);
  process.exitCode = 1;
}
