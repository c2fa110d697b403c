/** What an owner can do to an envelope. Each says what will happen before it does. */
import type {
  ActionAnswer,
  EnvelopeAnswer,
  GrantBody,
  KeyView,
  PaymentView,
  ReasonBody,
  RefundBody,
  RevocationBody,
  RevokeKeyAnswer,
  RevokeKeyBody,
  RotateAnswer,
  SessionAnswer,
  StripeRefundAnswer,
  StripeRefundBody,
} from "../../admin/api.js";
import type { Entry, LotView } from "../../contract.js";
import { type Field, microsOf, openAction, type Values } from "../dialog.js";
import { type Child, el } from "../dom.js";
import { money } from "../format.js";
import { icon } from "../icons.js";
import { copy, shortId } from "../parts.js";

export interface Acting {
  readonly id: string;
  readonly session: SessionAnswer;
  /** As it was seen last; `undefined` until it was. */
  readonly envelope: EnvelopeAnswer | undefined;
  readonly after: () => void;
}

const REASON: Field = {
  name: "reason",
  label: "Reason",
  kind: "reason",
  hint: "Kept in the envelope’s audit for good.",
};
const reasonOf = (values: Values): string => values["reason"] ?? "";
const api = ({ id }: Acting, path: string): string => `/api/envelopes/${encodeURIComponent(id)}/${path}`;
const name = ({ id }: Acting): Child => el("bdi", { class: "mono", title: id }, shortId(id));
const strong = (text: string): Child => el("strong", null, text);

export function grantButton(acting: Acting): Child {
  return el(
    "button",
    { type: "button", class: "button primary", disabled: acting.envelope === undefined, onclick: () => grant(acting) },
    icon("plus"),
    "Grant",
  );
}

function grant(acting: Acting): void {
  const given = (values: Values) => money(microsOf(values) ?? 0);
  openAction<ActionAnswer>({
    title: "Grant credit",
    intro: "Gives the holder money to spend that nobody paid for.",
    fields: [
      { name: "amount", label: "Amount", kind: "money" },
      REASON,
      { name: "until", label: "To be spent by", kind: "date", optional: true, hint: "Empty: it does not expire." },
    ],
    restate: (values) => [
      "Envelope ",
      name(acting),
      " is given ",
      strong(given(values)),
      ...becomes(acting, microsOf(values) ?? 0),
      values["until"] ? ` What is left of it expires at the end of ${values["until"]}.` : null,
    ],
    verb: (values) => `Grant ${given(values)}`,
    path: api(acting, "grants"),
    body: (values): GrantBody => {
      // The same wish says the same however often it is sent: no clock is asked.
      const expires_at_ms = Date.parse(`${values["until"]}T23:59:59.999`);
      return {
        amount_micros: microsOf(values) ?? 0,
        ...(Number.isNaN(expires_at_ms) ? {} : { expires_at_ms }),
        reason: reasonOf(values),
      };
    },
    done: ({ balance_micros }, values) => `Granted ${given(values)}. The balance is ${money(balance_micros)}.`,
    after: acting.after,
  });
}

function becomes({ envelope }: Acting, by: number): Child[] {
  if (envelope === undefined) return ["."];
  const { balance_micros: before } = envelope;
  return [". Its balance goes from ", money(before), " to ", strong(money(BigInt(before) + BigInt(by))), "."];
}

export function revokeGrant(acting: Acting, { seq, remaining_micros, held_micros }: LotView): void {
  openAction<ActionAnswer>({
    title: `Revoke grant no. ${seq}`,
    intro: "Takes back what is left of a grant. What was spent of it stays spent.",
    fields: [REASON],
    restate: () => [
      "Envelope ",
      name(acting),
      " loses ",
      strong(money(remaining_micros - held_micros)),
      held_micros > 0 ? ` of the grant; ${money(held_micros)} are held, and left to the hold.` : " of the grant.",
    ],
    verb: () => "Revoke",
    danger: true,
    path: api(acting, "revocations"),
    body: (values): RevocationBody => ({ seq, reason: reasonOf(values) }),
    done: ({ balance_micros }) => `Revoked. The balance is ${money(balance_micros)}.`,
    after: acting.after,
  });
}

export function revokeKey(acting: Acting, { id, minted, name: called }: KeyView): void {
  openAction<RevokeKeyAnswer>({
    title: minted ? "Revoke the key" : "Revoke the identity",
    intro: "For a key that leaked, or whoever should spend no more. It cannot be undone.",
    fields: [REASON],
    restate: () => [
      "From now on, ",
      el("bdi", { class: "mono" }, called ?? id),
      " is ",
      strong("refused"),
      " on envelope ",
      name(acting),
      ". Its balance and its other keys stay as they are.",
    ],
    verb: () => "Revoke",
    danger: true,
    path: api(acting, `keys/${encodeURIComponent(id)}/revoke`),
    body: (values): RevokeKeyBody => ({ minted, reason: reasonOf(values) }),
    done: () => "It is refused from now on.",
    after: acting.after,
  });
}

/** `undefined`: all that is left of it. */
const part = (values: Values): number | undefined => (values["amount"] ? microsOf(values) : undefined);

export function refundCharge(acting: Acting, { seq, amount_micros, reason }: Entry): void {
  const charged = money(-amount_micros);
  const given = (values: Values) => (part(values) === undefined ? "all that is left of it" : money(part(values) ?? 0));
  openAction<ActionAnswer>({
    title: `Refund charge no. ${seq}`,
    intro: [
      "Gives a charge of ",
      strong(charged),
      reason === null ? "" : [" for ", el("bdi", null, reason.slice(0, 80))],
      " back into the envelope. No card is involved.",
    ],
    fields: [
      {
        name: "amount",
        label: "Amount",
        kind: "money",
        optional: true,
        hint: "Empty: all that is left of the charge.",
      },
      REASON,
    ],
    restate: (values) => [
      "Of charge no. ",
      String(seq),
      " (",
      charged,
      "), ",
      strong(given(values)),
      " goes back into envelope ",
      name(acting),
      ".",
    ],
    verb: (values) => (part(values) === undefined ? "Refund what is left" : `Refund ${given(values)}`),
    path: api(acting, "refunds"),
    body: (values): RefundBody => {
      const amount = part(values);
      return { seq, ...(amount === undefined ? {} : { amount_micros: amount }), reason: reasonOf(values) };
    },
    done: ({ balance_micros }) => `Refunded. The balance is ${money(balance_micros)}.`,
    after: acting.after,
  });
}

export function refundPayment(acting: Acting, { payment_id, credit_micros, reversed_micros }: PaymentView): void {
  const rest = money(credit_micros - reversed_micros);
  const given = (values: Values) =>
    part(values) === undefined ? `all of it (up to ${rest})` : money(part(values) ?? 0);
  openAction<StripeRefundAnswer>({
    title: "Refund through Stripe",
    intro: [
      "Sends money of payment ",
      el("bdi", { class: "mono" }, payment_id),
      " back to the payer’s card. When Stripe confirms it, it is taken out of the envelope, even below zero.",
    ],
    fields: [
      {
        name: "amount",
        label: "Amount",
        kind: "money",
        optional: true,
        hint: "Empty: all that is left of the payment.",
      },
      REASON,
    ],
    restate: (values) => [
      "Stripe sends ",
      strong(given(values)),
      " back to the payer, and envelope ",
      name(acting),
      " loses what it was credited for it. This cannot be undone.",
    ],
    verb: (values) => (part(values) === undefined ? "Refund all of it" : `Refund ${given(values)}`),
    danger: true,
    path: api(acting, "stripe-refunds"),
    body: (values): StripeRefundBody => {
      const amount = part(values);
      return { payment_id, ...(amount === undefined ? {} : { amount_micros: amount }), reason: reasonOf(values) };
    },
    done: ({ status }) => `Stripe took the refund: ${status}. The envelope follows when Stripe confirms it.`,
    after: acting.after,
  });
}

export function freezeButton(acting: Acting): Child {
  const { envelope } = acting;
  const frozen = envelope?.frozen === true;
  return el(
    "button",
    { type: "button", class: "button", disabled: envelope === undefined, onclick: () => freeze(acting, !frozen) },
    frozen ? "Unfreeze" : "Freeze",
  );
}

function freeze(acting: Acting, frozen: boolean): void {
  const dispute = (acting.envelope?.open_disputes ?? 0) > 0;
  openAction<ActionAnswer>({
    title: frozen ? "Freeze the envelope" : "Unfreeze the envelope",
    intro: frozen
      ? "Nothing can be spent from a frozen envelope. Money may still come in."
      : dispute
        ? "A dispute is open, and not decided yet: from now on it stops no spending. Another one would."
        : "The holder can spend again.",
    fields: [REASON],
    restate: () =>
      frozen
        ? ["Every charge on envelope ", name(acting), " is ", strong("refused"), " from now on, until you unfreeze it."]
        : ["Envelope ", name(acting), " can be ", strong("spent from again"), "."],
    verb: () => (frozen ? "Freeze" : "Unfreeze"),
    danger: frozen,
    path: api(acting, frozen ? "freeze" : "unfreeze"),
    body: (values): ReasonBody => ({ reason: reasonOf(values) }),
    done: (answer) => (answer.frozen ? "The envelope is frozen." : "The envelope is open."),
    after: acting.after,
  });
}

export function rotateButton(acting: Acting): Child {
  return el(
    "button",
    { type: "button", class: "button", disabled: acting.envelope === undefined, onclick: () => rotate(acting) },
    "New token",
  );
}

function rotate(acting: Acting): void {
  openAction<RotateAnswer>({
    title: "New token",
    intro: "For a holder whose token was lost or stolen. Balance and ledger stay as they are.",
    fields: [REASON],
    restate: () => [
      "The tokens and cookies that open envelope ",
      name(acting),
      " now are ",
      strong("refused at once"),
      ". The new token is shown once, to you.",
    ],
    verb: () => "Make a new token",
    danger: true,
    path: api(acting, "rotate"),
    body: (values): ReasonBody => ({ reason: reasonOf(values) }),
    done: ({ token }) => ({ page: tokenView(token) }),
    after: acting.after,
  });
}

function tokenView(token: string): Child {
  return [
    el("p", null, strong("Copy it now."), " It is not stored, and cannot be shown again."),
    el("label", { for: "token" }, "Token"),
    el(
      "div",
      { class: "token" },
      el("input", {
        id: "token",
        class: "mono",
        type: "text",
        readonly: true,
        value: token,
        onfocus: (event: FocusEvent) => (event.currentTarget as HTMLInputElement).select(),
      }),
    ),
    el(
      "div",
      { class: "buttons" },
      el(
        "button",
        {
          type: "button",
          class: "button",
          onclick: (event: MouseEvent) => (event.currentTarget as HTMLElement).closest("dialog")?.close(),
        },
        "Done",
      ),
      el(
        "button",
        {
          type: "button",
          class: "button primary",
          onclick: (event: MouseEvent) => void copy(token, event.currentTarget as HTMLElement),
        },
        icon("copy"),
        "Copy",
      ),
    ),
  ];
}
