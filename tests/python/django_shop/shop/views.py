"""A view as people write them: the order and its event, and at times an error."""

import outtray.django
from django.http import JsonResponse

from .models import Order


def create(request):
    order = Order.objects.create(total="12.50")
    event = outtray.django.enqueue(
        "orders.created",
        {"id": order.pk, "at": order.at, "total": order.total},
        key=str(order.pk),
    )
    if "fail" in request.GET:
        raise RuntimeError("after the event")
    return JsonResponse({"event": event})
