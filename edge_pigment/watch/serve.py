"""The local page: what the terminal says, to be seen from across the room; this machine only, no network."""

import json
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from edge_pigment import errors as texts
from edge_pigment.errors import InputError

ADDRESS = "127.0.0.1"
_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>edge-pigment watch</title><style>
body{font:18px/1.4 system-ui,sans-serif;margin:24px auto;max-width:900px;color:#1b1f24}
#advice{border:3px solid #9aa3ad;border-left-width:16px;border-radius:6px;padding:12px 18px;font-size:26px;font-weight:700}
#advice.go{border-color:#e69f00;background:#fff8e8}#advice.stop{border-color:#0072b2;background:#eef6fb}
table{border-collapse:collapse;margin:18px 0}td,th{padding:4px 22px 4px 0;text-align:right}td:first-child,th:first-child{text-align:left}
svg{width:100%;height:220px}text{font-size:13px;fill:#3a424b}.dim{color:#56606b;font-size:15px}
</style></head><body><h1>Precision while scanning</h1><div id="advice">…</div><table id="table"></table>
<svg id="chart" viewBox="0 0 800 220" role="img" aria-label="sd of FA against volumes"></svg><div id="notes" class="dim"></div>
<script>
const f=(v,d)=>v==null?"–":v.toFixed(d);
async function look(){let s;try{s=await(await fetch("state.json")).json()}catch(e){document.getElementById("notes").textContent="edge-pigment watch has ended.";return}
const u=s.history.length?s.history[s.history.length-1]:null,a=document.getElementById("advice");if(!u)return;
a.textContent=(u.stop?"■ ":"▶ ")+(u.advice||u.note);a.className=u.stop?"stop":"go";
document.getElementById("table").innerHTML=`<tr><th>${u.volumes} volumes, ${u.b0} b=0</th><th>white matter</th><th>grey matter</th></tr>`
+`<tr><td>sd of FA (target ${s.target})</td><td>${f(u.white_fa_sd,3)}</td><td>${f(u.grey_fa_sd,3)}</td></tr>`
+`<tr><td>sd of MD, 10⁻³ mm²/s</td><td>${f(u.white_md_sd==null?null:1e3*u.white_md_sd,3)}</td><td>${f(u.grey_md_sd==null?null:1e3*u.grey_md_sd,3)}</td></tr>`;
const h=s.history.filter(x=>x.white_fa_sd!=null);let g="";if(h.length){const n=Math.max(...h.map(x=>x.volumes),2),t=1.15*Math.max(s.target,...h.map(x=>x.white_fa_sd));
const X=v=>50+730*v/n,Y=v=>195-185*v/t;g+=`<line x1="50" x2="790" y1="${Y(s.target)}" y2="${Y(s.target)}" stroke="#d55e00" stroke-dasharray="6 4"/><text x="54" y="${Y(s.target)-5}">target ${s.target}</text><line x1="50" x2="790" y1="195" y2="195" stroke="#222"/>`;
g+=`<polyline fill="none" stroke="#0072b2" stroke-width="2" points="${h.map(x=>X(x.volumes)+","+Y(x.white_fa_sd)).join(" ")}"/>`;
for(const x of h)g+=`<circle cx="${X(x.volumes)}" cy="${Y(x.white_fa_sd)}" r="4" fill="#0072b2"/><text x="${X(x.volumes)}" y="212" text-anchor="middle">${x.volumes}</text>`}
document.getElementById("chart").innerHTML=g;
const notes=[u.verdict?"Scan so far: "+u.verdict:"",...u.warnings,...u.waiting.map(w=>"Waiting for "+w),...u.repeats.map(w=>"Sent twice: "+w)].filter(Boolean),box=document.getElementById("notes");
box.textContent="";for(const t of notes){const p=document.createElement("p");p.textContent=t;box.appendChild(p)}}
look();setInterval(look,1500);
</script></body></html>
"""


def serve(history: Callable[[], Sequence[Mapping[str, Any]]], target: float, port: int) -> ThreadingHTTPServer:
    """Serve the page in a thread until the process ends or `shutdown` is called.

    Args:
        history: gives every update so far, as `Update.as_dict`.
        target: sd of FA.
        port: 0 for any that is free.

    Raises:
        InputError: the port is taken.
    """
    from edge_pigment.outputs.write import plain

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/":
                self._answer(_PAGE, "text/html; charset=utf-8")
            elif self.path == "/state.json":
                state = plain({"target": target, "history": list(history())})
                self._answer(json.dumps(state, allow_nan=False), "application/json")
            else:
                self.send_error(404)

        def _answer(self, text: str, kind: str) -> None:
            body = text.encode()
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """The terminal is for the operator."""

    try:
        server = ThreadingHTTPServer((ADDRESS, port), Handler)
    except OSError as error:
        raise InputError(texts.WATCH_PORT.format(port=port, why=error.strerror or error)) from error
    server.daemon_threads = True
    Thread(target=server.serve_forever, daemon=True).start()
    return server
