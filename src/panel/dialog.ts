/** Dialogs, and the one form that every change of money goes through. */
import { messageOf, Problem, post } from "./api.js";
import { type Child, el, patch } from "./dom.js";
import { currencySymbol, type Parsed, parseMoney } from "./format.js";
import { announce } from "./parts.js";

export interface Dialog {
  draw(): void;
  close(): void;
}

/** The browser gives the focus back to where it was. */
export function openDialog(title: string, view: (dialog: Dialog) => Child, closed?: () => void): Dialog {
  const element = document.createElement("dialog");
  const heading = `dialog-${Date.now()}`;
  element.setAttribute("aria-labelledby", heading);
  const dialog: Dialog = {
    close: () => element.close(),
    draw: () => {
      const x = el(
        "button",
        { type: "button", class: "icon-button x", "aria-label": "Close", onclick: () => element.close() },
        "×",
      );
      patch(element, el("div", { class: "dialog-head" }, el("h2", { id: heading }, title), x), view(dialog));
    },
  };
  element.addEventListener("close", () => {
    element.remove();
    closed?.();
  });
  document.body.append(element);
  dialog.draw();
  element.showModal();
  element.querySelector<HTMLElement>("input, textarea, .primary")?.focus();
  return dialog;
}

export interface Field {
  readonly name: string;
  readonly label: string;
  readonly kind: "money" | "text" | "reason" | "date";
  readonly optional?: boolean;
  readonly initial?: string;
  readonly hint?: string;
}

export type Values = Readonly<Record<string, string>>;

export interface Action<Answer> {
  readonly title: string;
  readonly intro?: Child;
  readonly fields: readonly Field[];
  /** What will happen, said once more before it does. */
  readonly restate: (values: Values) => Child;
  /** On the last button. */
  readonly verb: (values: Values) => string;
  readonly danger?: boolean;
  readonly path: string;
  readonly body: (values: Values) => unknown;
  /** A last page of the dialog, or a word at the edge. */
  readonly done: (answer: Answer, values: Values) => string | { readonly page: Child };
  readonly after?: () => void;
}

type Step = "fill" | "confirm" | "sending" | "done";

const REASON_MAX = 256;

/** Fill in, read what will happen, confirm. The same key as long as it is the same wish: pressing twice does it once. */
export function openAction<Answer>(action: Action<Answer>): void {
  new ActionDialog(action).open();
}

class ActionDialog<Answer> {
  readonly #action: Action<Answer>;
  #step: Step = "fill";
  #values: Values;
  #complaints: Readonly<Record<string, string>> = {};
  #problem: string | undefined;
  #page: Child = null;
  #key: string = crypto.randomUUID();
  #sent: string | undefined;
  #dialog: Dialog | undefined;

  constructor(action: Action<Answer>) {
    this.#action = action;
    this.#values = Object.fromEntries(action.fields.map(({ name, initial }) => [name, initial ?? ""]));
  }

  open(): void {
    const done = () => this.#step === "done" && this.#action.after?.();
    this.#dialog = openDialog(this.#action.title, () => this.#view(), done);
  }

  #view(): Child {
    if (this.#step === "done") return el("div", { class: "form", key: "done" }, this.#page);
    return this.#step === "fill" ? this.#fill() : this.#confirm();
  }

  #fill(): Child {
    const { intro, fields } = this.#action;
    return el(
      "form",
      { class: "form", key: "fill", novalidate: true, onsubmit: (event: SubmitEvent) => this.#review(event) },
      intro ? el("p", null, intro) : null,
      fields.map((field) => this.#field(field)),
      el(
        "div",
        { class: "buttons" },
        this.#cancel(),
        el("button", { type: "submit", class: "button primary" }, "Continue"),
      ),
    );
  }

  #cancel(): Child {
    return el("button", { type: "button", class: "button", onclick: () => this.#dialog?.close() }, "Cancel");
  }

  #field(field: Field): Child {
    const { name, label, kind, optional, hint } = field;
    const complaint = this.#complaints[name];
    const id = `field-${name}`;
    const props = {
      id,
      name,
      value: this.#values[name] ?? "",
      required: !optional,
      autocomplete: "off",
      "aria-invalid": complaint === undefined ? null : "true",
      "aria-describedby": `${id}-hint`,
    };
    const input =
      kind === "reason"
        ? el("textarea", { ...props, rows: "2", maxlength: String(REASON_MAX) })
        : el("input", {
            ...props,
            type: kind === "date" ? "date" : "text",
            ...(kind === "money" ? { inputmode: "decimal" } : { spellcheck: "false" }),
          });
    return el(
      "div",
      { class: "field", key: name },
      el("label", { for: id }, label, optional ? el("span", { class: "note" }, " (optional)") : null),
      kind === "money"
        ? el("div", { class: "money-input" }, el("span", { "aria-hidden": "true" }, currencySymbol()), input)
        : input,
      el(
        "p",
        { id: `${id}-hint`, class: complaint === undefined ? "note" : "complaint", role: complaint ? "alert" : null },
        complaint ?? hint ?? "",
      ),
    );
  }

  #confirm(): Child {
    const { restate, verb, danger } = this.#action;
    const sending = this.#step === "sending";
    const reason = this.#values["reason"];
    return el(
      "form",
      { class: "form", key: "confirm", onsubmit: (event: SubmitEvent) => void this.#send(event) },
      el("div", { class: "restate", tabindex: "-1" }, el("p", null, restate(this.#values))),
      reason ? el("p", { class: "note" }, "Reason, for the audit: ", el("bdi", { class: "wrap" }, reason)) : null,
      this.#problem === undefined ? null : el("p", { class: "problem", role: "alert" }, el("bdi", null, this.#problem)),
      el(
        "div",
        { class: "buttons" },
        el("button", { type: "button", class: "button", disabled: sending, onclick: () => this.#back() }, "Back"),
        el(
          "button",
          { type: "submit", class: `button primary ${danger ? "danger" : ""}`, disabled: sending },
          sending ? "Working…" : verb(this.#values),
        ),
      ),
    );
  }

  #review(event: SubmitEvent): void {
    event.preventDefault();
    const form = event.currentTarget as HTMLFormElement;
    const data = new FormData(form);
    this.#values = Object.fromEntries(
      this.#action.fields.map(({ name }) => [name, String(data.get(name) ?? "").trim()]),
    );
    this.#complaints = Object.fromEntries(this.#action.fields.flatMap((field) => this.#complaint(field)));
    this.#step = Object.keys(this.#complaints).length === 0 ? "confirm" : "fill";
    this.#dialog?.draw();
    const first = this.#step === "confirm" ? "dialog .primary" : "dialog [aria-invalid]";
    document.querySelector<HTMLElement>(first)?.focus();
  }

  #complaint({ name, kind, optional }: Field): [string, string][] {
    const text = this.#values[name] ?? "";
    if (text === "") return optional ? [] : [[name, kind === "money" ? "Say how much." : "This is needed."]];
    if (kind !== "money") return [];
    const parsed: Parsed = parseMoney(text);
    return "complaint" in parsed ? [[name, parsed.complaint]] : [];
  }

  #back(): void {
    this.#step = "fill";
    this.#problem = undefined;
    this.#dialog?.draw();
    document.querySelector<HTMLElement>("dialog input, dialog textarea")?.focus();
  }

  async #send(event: SubmitEvent): Promise<void> {
    event.preventDefault();
    if (this.#step === "sending") return;
    const { path, body, done } = this.#action;
    const wish = JSON.stringify(body(this.#values));
    // Another wish under the same key would be a conflict.
    if (this.#sent !== undefined && this.#sent !== wish) this.#key = crypto.randomUUID();
    this.#sent = wish;
    this.#step = "sending";
    this.#problem = undefined;
    this.#dialog?.draw();
    try {
      const said = done(await post<Answer>(path, body(this.#values), this.#key), this.#values);
      this.#step = "done";
      if (typeof said !== "string") return this.#last(said.page);
      this.#dialog?.close();
      announce(said);
    } catch (error) {
      this.#step = "confirm";
      const unknown = error instanceof Problem && error.status === 0;
      this.#problem = unknown
        ? `${error.message} Whether it was done is not known; trying again is safe.`
        : messageOf(error);
      this.#dialog?.draw();
      document.querySelector<HTMLElement>("dialog .primary")?.focus();
    }
  }

  #last(page: Child): void {
    this.#page = page;
    this.#dialog?.draw();
    document.querySelector<HTMLElement>("dialog .primary")?.focus();
  }
}

export function microsOf(values: Values, name = "amount"): number | undefined {
  const parsed = parseMoney(values[name] ?? "");
  return "micros" in parsed ? parsed.micros : undefined;
}
