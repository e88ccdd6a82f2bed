# The same layout as `make image` assembles without Docker: one bundle on a distroless Node.js. All roles (operator, importer, …) are sub-commands of it.
FROM node:24-bookworm-slim AS build
WORKDIR /src
COPY package.json package-lock.json .npmrc tsconfig.json ./
# No install scripts: esbuild's program comes with its platform package, and Node.js is the image's own.
RUN npm ci --ignore-scripts
COPY operator ./operator
RUN node operator/bundle.mjs

FROM gcr.io/distroless/nodejs24-debian12:nonroot
ENV NODE_ENV=production
# Those of `make image`; test/image compares the two.
LABEL org.opencontainers.image.title="berth"
LABEL org.opencontainers.image.version="0.1.0"
LABEL org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /src/dist/berth.mjs /src/dist/berth.mjs.LEGAL.txt /app/
COPY LICENSE /app/
# nonroot of distroless, as a number, so that runAsNonRoot can be checked without /etc/passwd.
USER 65532:65532
WORKDIR /app
# Without --enable-source-maps: reading the map costs 65 MB at every start.
ENTRYPOINT ["/nodejs/bin/node", "/app/berth.mjs"]
CMD ["--help"]
