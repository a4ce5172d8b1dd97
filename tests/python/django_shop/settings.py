"""Settings; SHOP_DATABASE is the URL of the database, SHOP_OUTTRAY the setting
OUTTRAY as JSON."""

import json
import os
import pathlib
import urllib.parse

BASE_DIR = pathlib.Path(__file__).parent
SECRET_KEY = "of the tests"
DEBUG = True
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "urls"
USE_TZ = True
STATIC_URL = "static/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

_url = os.environ["SHOP_DATABASE"]
if _url.startswith("sqlite:"):
    _default = {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": _url.removeprefix("sqlite:"),
        "TEST": {"NAME": os.environ.get("SHOP_TEST_NAME")},
    }
else:
    _parts = urllib.parse.urlsplit(_url)
    _default = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": _parts.path[1:],
        "USER": _parts.username,
        "HOST": _parts.hostname,
        "PORT": _parts.port,
    }
DATABASES = {
    "default": {**_default, "ATOMIC_REQUESTS": "SHOP_ATOMIC" in os.environ},
    "other": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
}
OUTTRAY = json.loads(os.environ.get("SHOP_OUTTRAY", "{}"))

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "outtray.django",
    "shop",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
