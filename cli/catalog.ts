/** Product, price and payment link: what callers buy, and where. Pure. */
import type Stripe from "stripe";
import {
  type Call,
  type Link,
  META,
  owned,
  type Price,
  type PriceTerms,
  type State,
  sameSet,
  type Wish,
} from "./model.js";

export function priceOf(wish: Wish, state: State): Price | undefined {
  const wanted = termsOf(wish, state);
  return state.prices.find(
    (price) =>
      price.currency === wanted.currency &&
      price.minimum === wanted.minimum &&
      price.maximum === wanted.maximum &&
      price.preset === wanted.preset,
  );
}

export function linkOf(wish: Wish, state: State): Link | undefined {
  const price = priceOf(wish, state);
  return price && state.links.find((link) => link.price_id === price.id);
}

export function createProduct(wish: Wish): Call {
  const params = {
    name: `${wish.app}: credit`,
    // Stripe's terms forbid stored value: say what this is.
    description: "Prepaid, non-transferable credit for this service.",
    metadata: owned(wish),
  } satisfies Stripe.ProductCreateParams;
  return {
    kind: "create",
    name: "product",
    path: "/v1/products",
    params,
    why: "what callers buy",
    apply: (state, { id }) => ({ ...state, product_id: id }),
  };
}

/** Amounts of another currency are no measure, so a change of currency starts afresh. */
function termsOf(wish: Wish, state: State): PriceTerms {
  const [newest] = state.prices;
  const currency = wish.currency ?? newest?.currency ?? "usd";
  const before = newest?.currency === currency ? newest : undefined;
  return {
    currency,
    minimum: wish.minimum ?? before?.minimum,
    maximum: wish.maximum ?? before?.maximum,
    preset: wish.preset ?? before?.preset,
  };
}

export function createPrice(wish: Wish, state: State, product: string): Call {
  const terms = termsOf(wish, state);
  const { currency, minimum, maximum, preset } = terms;
  const params = {
    product,
    currency,
    custom_unit_amount: {
      enabled: true,
      ...(minimum !== undefined && { minimum }),
      ...(maximum !== undefined && { maximum }),
      ...(preset !== undefined && { preset }),
    },
    metadata: owned(wish),
  } satisfies Stripe.PriceCreateParams;
  return {
    kind: "create",
    name: "price",
    path: "/v1/prices",
    params,
    why: "the customer chooses the amount",
    apply: (now, { id }) => ({ ...now, prices: [{ id, ...terms }, ...now.prices] }),
  };
}

function paidUrl(wish: Wish): string {
  return `${wish.url}/paid?session_id={CHECKOUT_SESSION_ID}`;
}

/** A payer can be recognised by a card or by Link, and by nothing else that Stripe would offer. */
const RECOGNISABLE = ["card", "link"] satisfies Stripe.PaymentLinkCreateParams.PaymentMethodType[];

function methodsOf(wish: Wish): typeof RECOGNISABLE | null {
  return wish.login_by_payment ? RECOGNISABLE : null;
}

export function createLink(wish: Wish, price: Price): Call {
  const payment_method_types = methodsOf(wish);
  const redirect_url = paidUrl(wish);
  const params = {
    line_items: [{ price: price.id, quantity: 1 }],
    after_completion: { type: "redirect", redirect: { url: redirect_url } },
    ...(payment_method_types && { payment_method_types }),
    metadata: owned(wish, { [META.price]: price.id }),
  } satisfies Stripe.PaymentLinkCreateParams;
  return {
    kind: "create",
    name: "payment link",
    path: "/v1/payment_links",
    params,
    why: "where callers top up",
    apply: (state, { id, url = "" }) => {
      const link: Link = { id, url, price_id: price.id, redirect_url, payment_method_types, revision: 0 };
      return { ...state, links: [link, ...state.links] };
    },
  };
}

export function updateLink(wish: Wish, link: Link): Call | undefined {
  const redirect_url = paidUrl(wish);
  const payment_method_types = wish.login_by_payment === undefined ? link.payment_method_types : methodsOf(wish);
  const retyped = !sameSet(payment_method_types ?? [], link.payment_method_types ?? []);
  if (redirect_url === link.redirect_url && !retyped) return undefined;
  const params = {
    after_completion: { type: "redirect", redirect: { url: redirect_url } },
    ...(retyped && { payment_method_types: payment_method_types === null ? ("" as const) : RECOGNISABLE }),
    metadata: { [META.revision]: String(link.revision + 1) },
  } satisfies Stripe.PaymentLinkUpdateParams;
  const after: Link = { ...link, redirect_url, payment_method_types, revision: link.revision + 1 };
  return {
    kind: "update",
    name: "payment link",
    path: `/v1/payment_links/${link.id}`,
    params,
    why: retyped ? "payment methods differ" : "the return address differs",
    apply: (state) => ({ ...state, links: state.links.map((other) => (other.id === link.id ? after : other)) }),
  };
}
