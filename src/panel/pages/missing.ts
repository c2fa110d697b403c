import { el } from "../dom.js";
import type { Page } from "../page.js";
import { empty, link } from "../parts.js";

export function missingPage(): Page {
  return {
    title: "Not found",
    view: () => [
      el("h1", { tabindex: "-1" }, "Not found"),
      empty("search", "There is no such page", link("", {}, "To the overview")),
    ],
  };
}
