/** The panel as it is shipped: small, licensed, the same every time, and with nothing in it that parses HTML or calls elsewhere. */
import { spawnSync } from "node:child_process";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { expect, test } from "vitest";
import { PACKAGE_FOLDER } from "../../scripts/lib/folders.ts";

const FILE = join(PACKAGE_FOLDER, "src/admin/assets.ts");
const GZIP_MAX = 60_000;

const constant = (name: string): string =>
  JSON.parse(new RegExp(`^export const ${name}: string = (.*);$`, "m").exec(readFileSync(FILE, "utf8"))?.[1] ?? '""');

test("the panel's code and looks are at most 60 kB over the wire", () => {
  const [js, css] = [constant("PANEL_JS"), constant("PANEL_CSS")];
  expect(js.length).toBeGreaterThan(10_000);
  expect(css.length).toBeGreaterThan(1_000);
  expect(gzipSync(js).length + gzipSync(css).length).toBeLessThan(GZIP_MAX);
});

test("nothing in it parses HTML, evaluates text or names another origin", () => {
  const js = constant("PANEL_JS");
  const code = js.slice(js.indexOf("*/"));
  expect(code).not.toMatch(/innerHTML|outerHTML|insertAdjacentHTML|document\.write|srcdoc|\beval\(|new Function/);
  expect(code.match(/https?:\/\/[^"'`\s]+/g)).toEqual(["http://www.w3.org/2000/svg"]);
  expect(constant("PANEL_CSS")).not.toMatch(/https?:|@import/);
});

test("the licence of what others wrote is in it", () => {
  expect(constant("PANEL_JS")).toMatch(
    /^\/\*! Contains uPlot [\d.]+\.[\s\S]*MIT License[\s\S]*Leon Sorokin[\s\S]*WITHOUT WARRANTY/,
  );
});

test("the same source makes the same file, which is left alone", () => {
  const before = { text: readFileSync(FILE, "utf8"), at: statSync(FILE).mtimeMs };
  expect(spawnSync(process.execPath, [join(PACKAGE_FOLDER, "scripts/build-panel.mjs")]).status).toBe(0);
  expect(readFileSync(FILE, "utf8") === before.text).toBe(true);
  expect(statSync(FILE).mtimeMs).toBe(before.at);
});
