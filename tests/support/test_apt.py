"""apt.sh lets no package start a service, and puts everything back."""

import os
import pathlib
import signal
import subprocess
import time

import pytest

SCRIPT = pathlib.Path(__file__).with_name("apt.sh")
POLICY = "usr/sbin/policy-rc.d"
CLUSTER = "etc/postgresql-common/createcluster.d/zz-outtray-tests.conf"
APT = """\
#!/bin/sh
echo "$*" >>"$APT_ROOT/calls"
case "$*" in *install*) ;; *) exit 0 ;; esac
sh "$APT_ROOT/usr/sbin/policy-rc.d"; echo "policy $?" >>"$APT_ROOT/calls"
cat "$APT_ROOT"/etc/postgresql-common/createcluster.d/* >>"$APT_ROOT/calls"
touch "$APT_ROOT/installing"
while [ -e "$APT_ROOT/busy" ]; do sleep 0.02; done
exit "${APT_STATUS:-0}"
"""


@pytest.fixture
def root(tmp_path):
    stub = tmp_path / "bin/apt-get"
    stub.parent.mkdir()
    stub.write_text(APT)
    stub.chmod(0o755)
    return tmp_path


def start(root, **env):
    env = {**os.environ, **env, "APT_ROOT": str(root)}
    env["PATH"] = f"{root / 'bin'}:{env['PATH']}"
    return subprocess.Popen(
        ["sh", str(SCRIPT), "postgresql"], env=env, start_new_session=True
    )


def snapshot(root):
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if name.split("/")[0] in ("usr", "etc") and not path.is_dir():
            content = os.readlink(path) if path.is_symlink() else path.read_text()
            found[name] = (content, path.lstat().st_mode)
    return found


def existing(root, kind):
    policy = root / POLICY
    if kind != "none":
        policy.parent.mkdir(parents=True)
    if kind == "file":
        policy.write_text("#!/bin/sh\nexit 7\n")
        policy.chmod(0o751)
    elif kind == "link":
        policy.symlink_to("/etc/some/where")


@pytest.mark.parametrize("kind", ["none", "file", "link"])
@pytest.mark.parametrize("status", [0, 100])
def test_put_back(root, kind, status):
    existing(root, kind)
    before = snapshot(root)
    assert start(root, APT_STATUS=str(status)).wait() == status
    calls = (root / "calls").read_text()
    assert "install -y --no-install-recommends" in calls
    assert "policy 101" in calls
    assert "create_main_cluster = false" in calls
    assert snapshot(root) == before


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_interrupted(root, signum):
    existing(root, "file")
    before = snapshot(root)
    (root / "busy").touch()
    running = start(root)
    wait_for(root / "installing")
    running.send_signal(signum)
    (root / "busy").unlink()
    assert running.wait() == 128 + signum
    assert snapshot(root) == before


def test_killed_then_run_again(root):
    existing(root, "file")
    before = snapshot(root)
    (root / "busy").touch()
    running = start(root)
    wait_for(root / "installing")
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    (root / "busy").unlink()
    assert snapshot(root) != before
    assert start(root).wait() == 0
    assert snapshot(root) == before


def test_a_folder_of_a_package_stays(root):
    folder = (root / CLUSTER).parent
    folder.mkdir(parents=True)
    (folder.parent / "createcluster.conf").write_text("\n")
    assert start(root).wait() == 0
    assert folder.is_dir()
    assert not (root / CLUSTER).exists()


def wait_for(path):
    end = time.monotonic() + 240
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.01)
