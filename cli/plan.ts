/**
 * What remains to be done at Stripe, given what is there. Pure: what is wanted and what was found in, the next step out.
 * A run asks for one step after another, so a run that died anywhere is finished by running again: whatever the dead one
 * had done is found, and is no step any more. A dry run takes the same steps with answers made up.
 *
 * An option that is not given leaves what is there as it is.
 */
import { createLink, createPrice, createProduct, linkOf, priceOf, updateLink } from "./catalog.js";
import { endpointOf, markEndpoint, retireEndpoint, secretStatus, webhookStep } from "./endpoint.js";
import type { SecretName, State, Step, Storing, Wish } from "./model.js";

export function nextStep(wish: Wish, state: State): Step | undefined {
  if (state.product_id === undefined) return createProduct(wish);
  const price = priceOf(wish, state);
  if (price === undefined) return createPrice(wish, state, state.product_id);
  const link = linkOf(wish, state);
  if (link === undefined) return createLink(wish, price);
  return (
    updateLink(wish, link) ??
    storeEarly(wish, state) ??
    webhookStep(wish, state) ??
    storing(state, secretsToStore(wish, state)) ??
    markEndpoint(wish, state) ??
    retireEndpoint(wish, state)
  );
}

/** wrangler may turn out not to be logged in: found out before Stripe shows a secret that could then not be put anywhere. */
function storeEarly(wish: Wish, state: State): Storing | undefined {
  return wish.store === "wrangler" ? storing(state, ownSecrets(wish)) : undefined;
}

function ownSecrets(wish: Wish): SecretName[] {
  return ["STRIPE_PAYMENT_LINK", ...(wish.store_key ? (["STRIPE_SECRET_KEY"] as const) : [])];
}

function secretsToStore(wish: Wish, state: State): SecretName[] {
  const endpoint = endpointOf(state);
  const status = endpoint && secretStatus(wish, state, endpoint);
  const fresh = status === "told" || status === "held";
  return [...ownSecrets(wish), ...(fresh ? (["STRIPE_WEBHOOK_SECRET"] as const) : [])];
}

function storing(state: State, wanted: readonly SecretName[]): Storing | undefined {
  const names = wanted.filter((name) => !state.stored.includes(name));
  return names.length === 0 ? undefined : { kind: "store", names };
}

export function afterStoring(state: State, { names }: Storing): State {
  return { ...state, stored: [...state.stored, ...names] };
}
