/**
 * What a page looks like, as plain values, and the one function that makes the document look so. Nodes that stay are kept, with
 * their focus, scroll and selection, however often a page is drawn. Text goes through text nodes only: nothing here parses HTML.
 */

type Handler = (event: never) => void;
type PropValue = string | number | boolean | null | undefined | Handler;

export interface Props {
  /** Among its siblings, which one it is: keeps its node when others come and go. */
  readonly key?: string | number;
  /** Custom properties, set through the CSSOM: style attributes are forbidden by our policy. */
  readonly css?: Readonly<Record<`--${string}`, string>>;
  /** Draws by itself: called once with its element; what it answers is called with `value` each time. */
  readonly mount?: (element: HTMLElement) => (value: never) => void;
  readonly value?: unknown;
  readonly [name: string]: unknown;
}

export interface VNode {
  readonly tag: string;
  readonly props: Props;
  readonly children: readonly (VNode | string)[];
}

export type Child = VNode | string | number | null | undefined | false | readonly Child[];

export function el(tag: string, props?: Props | null, ...children: readonly Child[]): VNode {
  return { tag, props: props ?? {}, children: flat(children) };
}

function flat(children: readonly Child[]): (VNode | string)[] {
  const all: (VNode | string)[] = [];
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) all.push(...flat(child as readonly Child[]));
    else all.push(typeof child === "number" ? String(child) : (child as VNode | string));
  }
  return all;
}

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "path", "circle", "polyline", "polygon", "line"]);

interface Kept {
  readonly vnode: VNode;
  readonly update?: (value: never) => void;
}

const drawn = new WeakMap<Node, Kept>();

/** Makes the children of `parent` look like these. */
export function patch(parent: Element, ...children: readonly Child[]): void {
  const focused = document.activeElement;
  patchChildren(parent, flat(children));
  // A node that was moved lost the focus on its way.
  if (focused instanceof HTMLElement && focused !== document.activeElement && focused.isConnected) {
    focused.focus({ preventScroll: true });
  }
}

function patchChildren(parent: Element, wanted: readonly (VNode | string)[]): void {
  const pool = [...parent.childNodes];
  const nodes = wanted.map((want) => {
    const index = pool.findIndex((node) => fits(node, want));
    if (index < 0) return create(want);
    const [node] = pool.splice(index, 1) as [ChildNode];
    update(node, want);
    return node;
  });
  for (const node of pool) node.remove();
  let place = parent.firstChild;
  for (const node of nodes) {
    if (node === place) place = place.nextSibling;
    else parent.insertBefore(node, place);
  }
}

function fits(node: Node, want: VNode | string): boolean {
  if (typeof want === "string") return node.nodeType === Node.TEXT_NODE;
  const old = drawn.get(node)?.vnode;
  return old !== undefined && old.tag === want.tag && old.props.key === want.props.key;
}

function create(want: VNode | string): Node {
  if (typeof want === "string") return document.createTextNode(want);
  const element = SVG_TAGS.has(want.tag) ? document.createElementNS(SVG, want.tag) : document.createElement(want.tag);
  for (const [name, value] of Object.entries(want.props)) setProp(element, name, value as PropValue, true);
  const { mount } = want.props;
  if (mount !== undefined) {
    const redraw = mount(element as HTMLElement);
    drawn.set(element, { vnode: want, update: redraw });
    redraw(want.props.value as never);
  } else {
    drawn.set(element, { vnode: want });
    patchChildren(element, want.children);
  }
  return element;
}

function update(node: Node, want: VNode | string): void {
  if (typeof want === "string") {
    if (node.nodeValue !== want) node.nodeValue = want;
    return;
  }
  const element = node as HTMLElement;
  const kept = drawn.get(node) as Kept;
  for (const [name, value] of Object.entries(want.props)) {
    if (kept.vnode.props[name] !== value) setProp(element, name, value as PropValue, false);
  }
  for (const name of Object.keys(kept.vnode.props)) {
    if (!(name in want.props)) setProp(element, name, undefined, false);
  }
  if (kept.update !== undefined) {
    drawn.set(node, { vnode: want, update: kept.update });
    kept.update(want.props.value as never);
    return;
  }
  drawn.set(node, { vnode: want });
  patchChildren(element, want.children);
}

function setProp(element: Element, name: string, value: PropValue, first: boolean): void {
  if (name === "key" || name === "mount") return;
  if (name === "css") {
    const { style } = element as HTMLElement;
    for (const [property, text] of Object.entries((value ?? {}) as unknown as Record<string, string>)) {
      style.setProperty(property, text);
    }
  } else if (name === "value") {
    // What somebody types is theirs: only the beginning is ours.
    if (first && typeof value === "string") (element as HTMLInputElement).value = value;
  } else if (name.startsWith("on")) {
    (element as unknown as Record<string, unknown>)[name] = value ?? null;
  } else if (value === undefined || value === null || value === false) {
    element.removeAttribute(name);
  } else {
    element.setAttribute(name, value === true ? "" : String(value));
  }
}
