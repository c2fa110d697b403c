import { withEnvelope } from "with-envelope";

export { Envelope, EnvelopeAggregate, EnvelopeDirectory } from "with-envelope";

export default {
  fetch: withEnvelope((request) => {
    const { pathname } = new URL(request.url);
    if (pathname === "/cheap") return Response.json({ hello: "world" }, { headers: { "X-Price": "1" } });
    return new Response("free");
  }),
};
