import outtray.django
from django.http import JsonResponse
from django.views.decorators.csrf import csrf_exempt

from .models import Order


@csrf_exempt  # an interface for programs, not a form
def create(request):
    order = Order.objects.create(total=request.POST["total"])
    event = outtray.django.enqueue(
        "orders.created",
        {"id": order.pk, "total": order.total, "at": order.created_at},
        key=str(order.pk),
    )
    return JsonResponse({"id": order.pk, "event": event}, status=201)
