/** npm, for packing the package as it would be published and installing it as a user would. */
import { execFileSync } from "node:child_process";

/** Throws with what npm printed when it fails. Answers its standard output. */
export function npm(folder: string, args: readonly string[]): string {
  try {
    return execFileSync("npm", [...args], { cwd: folder, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  } catch (error) {
    const { stdout = "", stderr = "" } = error as { stdout?: string; stderr?: string };
    throw new Error(`npm ${args.join(" ")} failed:\n${stdout}\n${stderr}`);
  }
}
