"""Listens as systemd does for two ingress processes, starts them and two workers, restarts each in turn while requests come in, and
prints how the requests ended. Reads what to do from standard input, as JSON."""
import http.client, json, os, signal, socket, sys, threading, time

told = json.load(sys.stdin)
listener = socket.socket()
listener.bind((told["address"], 0))
listener.listen(1024)
port = listener.getsockname()[1]


def start(role):
    child = os.fork()
    if child == 0:
        os.dup2(listener.fileno(), 3)
        os.set_inheritable(3, True)
        os.dup2(os.open(f"{told['folder']}/{role}.log", os.O_CREAT | os.O_APPEND | os.O_WRONLY), 2)
        given = {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())} if role == "ingress" else {}
        binary = told["binary"]
        os.execve(binary, [binary, "--config", told["config"], "serve", "--role", role], given)
    return child


def ask(member):
    connection = http.client.HTTPConnection(told["address"], port, timeout=30)
    body = json.dumps({"brand_id": "tea", "template_id": "welcome", "user": {"identifier": member}})
    headers = {"authorization": f"Bearer {told['token']}", "content-type": "application/json", "connection": "close"}
    connection.request("POST", "/mail", body, headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


ends, lock, over = {}, threading.Lock(), threading.Event()
members, begun = iter(told["members"]), time.monotonic()


def load(number):
    """One of the threads: each request at its own time."""
    turn = number
    while not over.is_set():
        time.sleep(max(0, begun + turn / told["rate"] - time.monotonic()))
        turn += told["threads"]
        with lock:
            member = next(members, None)
        if member is None:
            return
        try:
            end = ask(member)
        except OSError as error:
            end = (0, repr(error))
        with lock:
            ends[member] = end


running = [(role, start(role)) for role in ["ingress", "ingress", "worker", "worker"]]
while True:
    try:
        if ask("nobody")[0] < 500:
            break
    except OSError:
        pass
    if time.monotonic() > begun + told["patience"]:
        for _, child in running:
            os.kill(child, signal.SIGKILL)
        sys.exit("no ingress answers")
    time.sleep(0.1)
begun = time.monotonic()
threads = [threading.Thread(target=load, args=(number,)) for number in range(told["threads"])]
for thread in threads:
    thread.start()
statuses = []
for _ in range(told["rounds"]):
    for place, (role, child) in enumerate(running):
        time.sleep(told["pause"])
        os.kill(child, signal.SIGTERM)
        statuses.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        running[place] = (role, start(role))
time.sleep(told["pause"])
if told["seconds"]:
    time.sleep(max(0, begun + told["seconds"] - time.monotonic()))
over.set()
for thread in threads:
    thread.join()
took = time.monotonic() - begun
deadline = time.monotonic() + told["patience"]
while time.monotonic() < deadline and not os.path.exists(f"{told['folder']}/done"):
    time.sleep(0.1)
    with open(f"{told['folder']}/asked", "w") as asked:
        asked.write(str(len(ends)))
for _, child in running:
    os.kill(child, signal.SIGTERM)
    statuses.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
bad = {member: end for member, end in ends.items() if end[0] != 200}
taken = [member for member, end in ends.items() if end[0] == 200]
print(json.dumps({"bad": bad, "taken": taken, "statuses": statuses, "took": took}))
