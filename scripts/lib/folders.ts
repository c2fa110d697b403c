/** Where things are: the package, and folders that live as long as a run. */
import { mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const PACKAGE_FOLDER = fileURLToPath(new URL("../..", import.meta.url)).replace(/\/$/, "");

export interface TemporaryFolder {
  readonly path: string;
  remove(): void;
  /** Leaves it for a human to look at. */
  keep(): void;
}

const living = new Set<string>();

/** Gone at the end of the process at the latest, however that ends short of SIGKILL. */
export function temporaryFolder(purpose: string): TemporaryFolder {
  if (living.size === 0) process.once("exit", removeLiving);
  // The real path, because bundlers compare paths and some systems reach their temporary folder through a link.
  const path = realpathSync(mkdtempSync(join(tmpdir(), `with-envelope-${purpose}-`)));
  living.add(path);
  return {
    path,
    keep: () => void living.delete(path),
    remove: () => {
      rmSync(path, { recursive: true, force: true, maxRetries: 3 });
      living.delete(path);
    },
  };
}

function removeLiving(): void {
  for (const path of living) rmSync(path, { recursive: true, force: true });
}
