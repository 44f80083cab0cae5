"use strict";

// Draws a face with WebGL and lets the user turn it.

const VERTEX_SHADER = `
attribute vec3 position, normal, color;
uniform vec3 center;             // of the mesh, decimetres
uniform float focal, cameraD;    // of the camera of the photo: px of the 224 px wide picture, and decimetres
uniform mat3 turn;
uniform vec2 zoom;
varying vec3 skin, direction;
varying vec2 place;
varying float seen;
void main() {
  vec3 fromCamera = vec3(0.0, 0.0, cameraD) - position;
  place = (focal * position.xy / fromCamera.z + 112.0) / 224.0;
  seen = smoothstep(0.2, 0.55, dot(normalize(fromCamera), normal));
  skin = color;
  direction = turn * normal;
  vec3 p = turn * (position - center);
  gl_Position = vec4(zoom * p.xy, -0.25 * p.z, 1.0 - 0.1 * p.z);
}`;
const FRAGMENT_SHADER = `
precision mediump float;
uniform sampler2D photo;
uniform int surface;             // 0: photo, 1: skin colours, 2: shape
varying vec3 skin, direction;
varying vec2 place;
varying float seen;
void main() {
  vec3 color = skin;
  if (surface == 0) {
    vec2 inside = step(vec2(0.0), place) * step(place, vec2(1.0));
    color = mix(skin, texture2D(photo, place).rgb, seen * inside.x * inside.y);
  } else if (surface == 2) {
    color = vec3(0.25 + 0.65 * max(dot(normalize(direction), normalize(vec3(0.3, 0.4, 1.0))), 0.0));
  }
  gl_FragColor = vec4(color, 1.0);
}`;

class MeshView {
  // page: has focal and camera_d of the photo's camera, and the triangles, see models/report/meshes.py.
  constructor(canvas, page) {
    this.canvas = canvas;
    this.page = page;
    // The drawing is preserved, so that "Save image as" of the browser finds it.
    const gl = this.gl = canvas.getContext("webgl", {preserveDrawingBuffer: true});
    if (!gl) {
      throw new Error("this browser has no WebGL");
    }
    const program = this.program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX_SHADER], [gl.FRAGMENT_SHADER, FRAGMENT_SHADER]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) {
      throw new Error(gl.getProgramInfoLog(program));
    }
    gl.useProgram(program);
    gl.enable(gl.DEPTH_TEST);
    gl.pixelStorei(gl.UNPACK_FLIP_Y_WEBGL, true);
    gl.uniform1f(this.uniform("focal"), page.focal);
    gl.uniform1f(this.uniform("cameraD"), page.camera_d);
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    for (const [name, value] of [["WRAP_S", "CLAMP_TO_EDGE"], ["WRAP_T", "CLAMP_TO_EDGE"], ["MIN_FILTER", "LINEAR"]]) {
      gl.texParameteri(gl.TEXTURE_2D, gl[`TEXTURE_${name}`], gl[value]);
    }
    this.listen();
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  uniform(name) {
    return this.gl.getUniformLocation(this.program, name);
  }

  // Reads a mesh as models/report/meshes.py packs it.
  async load(packed) {
    this.triangles ??= new Uint16Array(await unpack(this.page.triangles));
    const {scale, center, data} = packed, bytes = await unpack(data);
    const count = bytes.byteLength / 9, steps = new Int16Array(bytes, 0, 3 * count);
    const positions = Float32Array.from(steps, (step, i) => center[i % 3] + step * scale);
    this.fillBuffer("position", positions, this.gl.FLOAT, false);
    this.fillBuffer("normal", vertexNormals(positions, this.triangles), this.gl.FLOAT, false);
    this.fillBuffer("color", new Uint8Array(bytes, 6 * count), this.gl.UNSIGNED_BYTE, true);
    this.gl.uniform3fv(this.uniform("center"), center);
    this.gl.bindBuffer(this.gl.ELEMENT_ARRAY_BUFFER, this.gl.createBuffer());
    this.gl.bufferData(this.gl.ELEMENT_ARRAY_BUFFER, this.triangles, this.gl.STATIC_DRAW);
  }

  fillBuffer(name, values, type, normalized) {
    const gl = this.gl, place = gl.getAttribLocation(this.program, name);
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(place);
    gl.vertexAttribPointer(place, 3, type, normalized, 0, 0);
  }

  setTexture(image) {
    this.gl.texImage2D(this.gl.TEXTURE_2D, 0, this.gl.RGB, this.gl.RGB, this.gl.UNSIGNED_BYTE, image);
  }

  setSurface(surface) {
    this.gl.uniform1i(this.uniform("surface"), surface);
    this.draw();
  }

  // Shows the face as the camera of the photo sees it.
  reset() {
    Object.assign(this, {yaw: 0, pitch: 0, size: 0.9});
    this.draw();
  }

  turnBy(right, down) {
    this.yaw += right;
    this.pitch = Math.min(Math.max(this.pitch + down, -1.5), 1.5);
    this.draw();
  }

  zoomBy(factor) {
    this.size = Math.min(Math.max(this.size * factor, 0.3), 6);
    this.draw();
  }

  draw() {
    const gl = this.gl, ratio = window.devicePixelRatio;
    const width = Math.round(this.canvas.clientWidth * ratio), height = Math.round(this.canvas.clientHeight * ratio);
    if (!this.triangles || !width || !height) {
      return;
    }
    Object.assign(this.canvas, {width, height});
    gl.viewport(0, 0, width, height);
    gl.clearColor(0.17, 0.185, 0.2, 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    const [sy, cy, sp, cp] = [Math.sin(this.yaw), Math.cos(this.yaw), Math.sin(this.pitch), Math.cos(this.pitch)];
    gl.uniformMatrix3fv(this.uniform("turn"), false, [cy, sp * sy, -cp * sy, 0, cp, sp, sy, -sp * cy, cp * cy]);
    const least = Math.min(width, height);
    gl.uniform2f(this.uniform("zoom"), this.size * least / width, this.size * least / height);
    gl.drawElements(gl.TRIANGLES, this.triangles.length, gl.UNSIGNED_SHORT, 0);
  }

  listen() {
    const pointers = new Map(), canvas = this.canvas;
    const spread = () => {
      const [a, b] = pointers.values();
      return Math.hypot(a.x - b.x, a.y - b.y);
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, {x: event.clientX, y: event.clientY});
    });
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, (event) => pointers.delete(event.pointerId));
    }
    canvas.addEventListener("pointermove", (event) => {
      const before = pointers.get(event.pointerId);
      if (!before) {
        return;
      }
      const oldSpread = pointers.size === 2 ? spread() : 0;
      pointers.set(event.pointerId, {x: event.clientX, y: event.clientY});
      if (pointers.size === 2) {
        this.zoomBy(spread() / oldSpread);
      } else {
        this.turnBy((event.clientX - before.x) / 150, (event.clientY - before.y) / 150);
      }
    });
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoomBy(Math.exp(-event.deltaY / 500));
    }, {passive: false});
    const keys = {
      ArrowLeft: () => this.turnBy(-0.1, 0), ArrowRight: () => this.turnBy(0.1, 0),
      ArrowUp: () => this.turnBy(0, -0.1), ArrowDown: () => this.turnBy(0, 0.1),
      "+": () => this.zoomBy(1.1), "-": () => this.zoomBy(1 / 1.1),
    };
    canvas.addEventListener("keydown", (event) => {
      if (keys[event.key]) {
        event.preventDefault();
        keys[event.key]();
      }
    });
  }
}

// Returns the bytes (ArrayBuffer) of a text that is base64 of zlib's format.
async function unpack(text) {
  const compressed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([compressed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

// Returns the normals of vertices: the normalised sum of the normals of the triangles around each of them.
function vertexNormals(positions, triangles) {
  const normals = new Float32Array(positions.length);
  const edge = (from, to) => [0, 1, 2].map((axis) => positions[3 * to + axis] - positions[3 * from + axis]);
  for (let i = 0; i < triangles.length; i += 3) {
    const corners = triangles.subarray(i, i + 3), u = edge(corners[0], corners[1]), v = edge(corners[0], corners[2]);
    const normal = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
    for (const corner of corners) {
      for (const axis of [0, 1, 2]) {
        normals[3 * corner + axis] += normal[axis];
      }
    }
  }
  for (let i = 0; i < normals.length; i += 3) {
    const length = Math.hypot(normals[i], normals[i + 1], normals[i + 2]) || 1;
    for (const axis of [0, 1, 2]) {
      normals[i + axis] /= length;
    }
  }
  return normals;
}
