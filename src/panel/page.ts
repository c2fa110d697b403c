/** What a page is to the frame around it. */
import type { SessionAnswer } from "../admin/api.js";
import type { Child } from "./dom.js";
import type { Live } from "./live.js";

export interface Page {
  /** Of the document and the first heading. */
  readonly title: string;
  view(): Child;
  /** The query of the address changed, the path did not. */
  readonly moved?: () => void;
}

export interface Frame {
  readonly session: SessionAnswer;
  readonly live: Live;
  /** Payments that wait for the owner; also told beside the navigation. */
  readonly unclaimed: number;
  /** Asks again for all that is shown. */
  readonly refresh: () => void;
  /** Draws the page again, soon. */
  draw(): void;
  /** Goes to a path below the panel's; `replace` leaves no step in the history. */
  go(path: string, how?: "replace"): void;
  query(): URLSearchParams;
}

export type PageMaker = (frame: Frame, id: string) => Page;

/** The path of this page with one thing of its query changed. */
export function withQuery(
  path: string,
  query: URLSearchParams,
  changes: Readonly<Record<string, string | undefined>>,
): string {
  const next = new URLSearchParams(query);
  for (const [name, value] of Object.entries(changes)) {
    if (value === undefined || value === "") next.delete(name);
    else next.set(name, value);
  }
  const text = next.toString();
  return text === "" ? path : `${path}?${text}`;
}
