/** How long the disk takes to have a page for good: what a commit waits for, and what grouping commits saves. */
import { closeSync, fsyncSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { temporaryFolder } from "../lib/folders.ts";
import { spreadOf } from "./run.ts";

const PAGE = Buffer.alloc(4_096, 1);
const TIMES = 201;

/** Appended, as SQLite's write-ahead log grows: a file system with a journal takes far longer for that than to write in place. Median, in ms. */
export function diskCommitMs(): number {
  const folder = temporaryFolder("disk");
  const file = openSync(join(folder.path, "log"), "w");
  try {
    const times_ms = Array.from({ length: TIMES }, () => {
      const began_ms = performance.now();
      writeSync(file, PAGE);
      fsyncSync(file);
      return performance.now() - began_ms;
    });
    return spreadOf(times_ms).median;
  } finally {
    closeSync(file);
    folder.remove();
  }
}
