
// What makes a module of the client above.
const { io } = globalThis;
export const protocol = 5;
export { io, io as connect, io as default };
